// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr std::size_t kVersionBytes = 2;
constexpr std::size_t kMaxHeaderBytes = std::size_t{64} * 1024;
constexpr std::size_t kDataAlignment = 64;

constexpr std::array<std::pair<std::string_view, DataType>, 6> kDescriptors = {
    {{"<f2", DataType::kFloat16},
     {"<f4", DataType::kFloat32},
     {"<f8", DataType::kFloat64},
     {"|b1", DataType::kBool},
     {"<i4", DataType::kInt32},
     {"<i8", DataType::kInt64}}};

absl::Status Malformed(std::string_view what) {
  return absl::InvalidArgumentError(
      FormatText("malformed .npy header: {}", what));
}

struct Header {
  DataType dtype = DataType::kFloat32;
  std::vector<std::int64_t> dims;
};

// Reads the header: a Python dictionary literal of three known keys. Only what
// NumPy writes is understood, in any order and spacing.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  absl::StatusOr<Header> Parse() {
    ATTENTION_RETURN_IF_ERROR(Expect('{'));
    while (!Take('}')) {
      ATTENTION_RETURN_IF_ERROR(ParseEntry());
      if (Take(',')) continue;
      ATTENTION_RETURN_IF_ERROR(Expect('}'));
      break;
    }
    SkipSpace();
    if (!text_.empty()) return Malformed("text behind the dictionary");
    if (!dtype_ || !has_order_ || !dims_) {
      return Malformed("expected the keys descr, fortran_order and shape");
    }
    return Header{.dtype = *dtype_, .dims = *std::move(dims_)};
  }

 private:
  void SkipSpace() {
    const std::size_t start = text_.find_first_not_of(" \t\n");
    text_.remove_prefix(std::min(start, text_.size()));
  }

  bool Take(char character) {
    SkipSpace();
    if (!text_.starts_with(character)) return false;
    text_.remove_prefix(1);
    return true;
  }

  bool TakeWord(std::string_view word) {
    SkipSpace();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }

  absl::Status Expect(char character) {
    if (Take(character)) return absl::OkStatus();
    return Malformed(FormatText("expected '{}' before {}", character,
                                Quote(text_.substr(0, 16))));
  }

  absl::StatusOr<std::string_view> ParseString() {
    SkipSpace();
    if (text_.empty() || (text_[0] != '\'' && text_[0] != '"')) {
      return Malformed("expected a string");
    }
    const std::size_t end = text_.find(text_[0], 1);
    if (end == std::string_view::npos) return Malformed("unterminated string");
    const std::string_view content = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return content;
  }

  absl::Status ParseEntry() {
    ATTENTION_ASSIGN_OR_RETURN(const std::string_view key, ParseString());
    ATTENTION_RETURN_IF_ERROR(Expect(':'));
    if (key == "descr" && !dtype_) return ParseDescriptor();
    if (key == "fortran_order" && !has_order_) return ParseOrder();
    if (key == "shape" && !dims_) return ParseShape();
    return Malformed(FormatText("unknown or repeated key {}", Quote(key)));
  }

  absl::Status ParseDescriptor() {
    if (Take('[')) {
      return absl::InvalidArgumentError(
          "the array has named fields, expected one of numbers");
    }
    ATTENTION_ASSIGN_OR_RETURN(const std::string_view name, ParseString());
    for (const auto& [descriptor, dtype] : kDescriptors) {
      if (name == descriptor) dtype_ = dtype;
    }
    if (dtype_) return absl::OkStatus();
    return absl::InvalidArgumentError(FormatText(
        "dtype is {}, expected <f2, <f4, <f8, |b1, <i4 or <i8; save it with "
        "array.astype('<f4')",
        Quote(name)));
  }

  absl::Status ParseOrder() {
    if (TakeWord("False")) {
      has_order_ = true;
      return absl::OkStatus();
    }
    if (TakeWord("True")) {
      return absl::InvalidArgumentError(
          "the array is in Fortran order, expected C order; save it with "
          "numpy.ascontiguousarray(array)");
    }
    return Malformed("expected False or True for fortran_order");
  }

  absl::Status ParseShape() {
    ATTENTION_RETURN_IF_ERROR(Expect('('));
    std::vector<std::int64_t> dims;
    while (!Take(')')) {
      if (dims.size() == Shape::kMaxRank) {
        return Malformed(
            FormatText("more than {} dimensions", Shape::kMaxRank));
      }
      ATTENTION_ASSIGN_OR_RETURN(dims.emplace_back(), ParseDimension());
      if (Take(',')) continue;
      ATTENTION_RETURN_IF_ERROR(Expect(')'));
      if (dims.size() == 1) return Malformed("the shape is not a tuple");
      break;
    }
    dims_ = std::move(dims);
    return absl::OkStatus();
  }

  absl::StatusOr<std::int64_t> ParseDimension() {
    SkipSpace();
    std::uint64_t value = 0;
    const auto [end, error] =
        std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (error != std::errc() || value > Shape::kMaxDim) {
      return Malformed(
          FormatText("a dimension is not in [0, {}]", Shape::kMaxDim));
    }
    text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
    return static_cast<std::int64_t>(value);
  }

  std::string_view text_;
  // Empty, or false, until the key has been read.
  std::optional<DataType> dtype_;
  bool has_order_ = false;
  std::optional<std::vector<std::int64_t>> dims_;
};

// Split the file behind magic and version into header and data.
absl::StatusOr<std::pair<std::string_view, std::string_view>> Split(
    std::string_view file) {
  if (!file.starts_with(kMagic)) {
    return absl::InvalidArgumentError(
        "not a .npy file: it does not begin with \\x93NUMPY");
  }
  file.remove_prefix(kMagic.size());
  if (file.size() < kVersionBytes) return Malformed("the file ends within it");
  const auto major = static_cast<unsigned char>(file[0]);
  const auto minor = static_cast<unsigned char>(file[1]);
  file.remove_prefix(kVersionBytes);
  if (major < 1 || major > 3 || minor != 0) {
    return absl::InvalidArgumentError(FormatText(
        ".npy version is {}.{}, expected 1.0, 2.0 or 3.0", major, minor));
  }
  const std::size_t length_bytes = major == 1 ? 2 : 4;
  if (file.size() < length_bytes) return Malformed("the file ends within it");
  std::size_t length = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) {
    length |= std::size_t{static_cast<unsigned char>(file[i])} << (8 * i);
  }
  file.remove_prefix(length_bytes);
  if (length > kMaxHeaderBytes) {
    return Malformed(FormatText("it is {} bytes long, expected at most {}",
                                length, kMaxHeaderBytes));
  }
  if (length > file.size()) return Malformed("the file ends within it");
  return std::pair(file.substr(0, length), file.substr(length));
}

bool IsBoolean(std::string_view data) {
  return std::ranges::all_of(data,
                             [](char c) { return c == '\0' || c == '\1'; });
}

}  // namespace

absl::StatusOr<Tensor> ParseNpy(std::span<const std::byte> file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()),
                              file.size());
  ATTENTION_ASSIGN_OR_RETURN(const auto parts, Split(text));
  const std::string_view data = parts.second;
  ATTENTION_ASSIGN_OR_RETURN(const Header header,
                             HeaderParser(parts.first).Parse());
  ATTENTION_ASSIGN_OR_RETURN(const Shape shape, Shape::Create(header.dims));
  const TensorView view = {reinterpret_cast<const std::byte*>(data.data()),
                           header.dtype, shape};
  if (view.num_bytes() != data.size()) {
    return absl::InvalidArgumentError(FormatText(
        "the .npy file holds {} bytes of data, expected {} for {} of shape {}",
        data.size(), view.num_bytes(), DataTypeName(view.dtype),
        shape.ToString()));
  }
  if (view.dtype == DataType::kBool && !IsBoolean(data)) {
    return absl::InvalidArgumentError(
        "the .npy file's bool array has an element that is neither 0 nor 1");
  }
  return Tensor::Copy(view);
}

absl::StatusOr<std::string> SerializeNpy(const TensorView& tensor) {
  const auto* entry =
      std::ranges::find(kDescriptors, tensor.dtype,
                        &std::pair<std::string_view, DataType>::second);
  if (entry == kDescriptors.end()) {
    return absl::InvalidArgumentError(
        FormatText(".npy has no {}; write a .safetensors file instead",
                   DataTypeName(tensor.dtype)));
  }
  std::string header =
      FormatText("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}",
                 entry->first, tensor.shape.ToString());
  constexpr std::size_t kPreamble = kMagic.size() + kVersionBytes + 2;
  const std::size_t unpadded = kPreamble + header.size() + 1;
  header.append((kDataAlignment - unpadded % kDataAlignment) % kDataAlignment,
                ' ');
  header += '\n';

  std::string file(kMagic);
  file.append({'\1', '\0', static_cast<char>(header.size() % 256),
               static_cast<char>(header.size() / 256)});
  file += header;
  file.append(reinterpret_cast<const char*>(tensor.data), tensor.num_bytes());
  return file;
}

}  // namespace attention
