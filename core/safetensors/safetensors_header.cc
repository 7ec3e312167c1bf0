// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/safetensors/foreign_file.h"
#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/tensor/shape.h"

namespace attention {
namespace {

constexpr std::array<SafetensorsDtype, 22> kDtypes = {{
    {"F32", 32, DataType::kFloat32},
    {"F64", 64, DataType::kFloat64},
    {"F16", 16, DataType::kFloat16},
    {"BF16", 16, DataType::kBFloat16},
    {"BOOL", 8, DataType::kBool},
    {"I32", 32, DataType::kInt32},
    {"I64", 64, DataType::kInt64},
    {"U8", 8, {}},
    {"I8", 8, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"U32", 32, {}},
    {"U64", 64, {}},
    {"C64", 64, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
}};

/// Receives the header's JSON event by event and accepts exactly the format's
/// grammar: an object of tensors, each an object of three fields, beside one
/// object of strings.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Unexpected("null"); }
  bool boolean(bool /*value*/) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t /*value*/) override {
    return Unexpected("a negative number");
  }
  bool number_float(number_float_t /*value*/,
                    const string_t& /*text*/) override {
    return Unexpected("a number that is not a 64-bit integer");
  }
  bool binary(binary_t& /*value*/) override { return Unexpected("binary"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape) return AddDim(value);
    if (place_ == Place::kOffsets) return AddOffset(value);
    return Unexpected("a number");
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      header_.metadata.emplace(key_, std::move(value));
      return true;
    }
    if (place_ != Place::kTensor || field_ != kDtypeField) {
      return Unexpected("a string");
    }
    entry_->second.dtype = std::move(value);
    return true;
  }

  bool start_object(std::size_t /*size*/) override {
    if (place_ == Place::kStart) {
      place_ = Place::kRoot;
      return true;
    }
    if (place_ != Place::kRoot) return Unexpected("an object");
    return key_ == kSafetensorsMetadataKey ? StartMetadata() : StartTensor();
  }

  bool end_object() override {
    if (place_ == Place::kTensor && seen_fields_ != kAllFields) {
      return Fail(FormatText(
          "tensor {} lacks a field, expected dtype, shape and data_offsets",
          Quote(entry_->first)));
    }
    place_ = place_ == Place::kRoot ? Place::kEnd : Place::kRoot;
    return true;
  }

  bool key(string_t& value) override {
    if (value.size() > SafetensorsView::kMaxNameBytes) {
      return Fail(FormatText("name {}, expected at most {} bytes", Quote(value),
                             SafetensorsView::kMaxNameBytes));
    }
    key_ = std::move(value);
    if (place_ == Place::kTensor) return StartField();
    const bool is_duplicate = place_ == Place::kMetadata
                                  ? header_.metadata.contains(key_)
                                  : header_.entries.contains(key_);
    if (is_duplicate) return Fail(FormatText("duplicate key {}", Quote(key_)));
    if (header_.metadata.size() >= SafetensorsView::kMaxMetadataEntries &&
        place_ == Place::kMetadata) {
      return Fail(FormatText("more than {} metadata entries",
                             SafetensorsView::kMaxMetadataEntries));
    }
    return true;
  }

  bool start_array(std::size_t /*size*/) override {
    if (place_ != Place::kTensor || field_ == kDtypeField) {
      return Unexpected("an array");
    }
    place_ = field_ == kShapeField ? Place::kShape : Place::kOffsets;
    return true;
  }

  bool end_array() override {
    if (place_ == Place::kOffsets && num_offsets_ != 2) {
      return Fail(
          FormatText("data_offsets of tensor {} has {} numbers, "
                     "expected 2",
                     Quote(entry_->first), num_offsets_));
    }
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    return Fail(FormatText("malformed JSON at byte {}", position));
  }

  /// \return what was read, or the first error.
  absl::StatusOr<SafetensorsHeader> Finish() && {
    if (!status_.ok()) return status_;
    return std::move(header_);
  }

 private:
  enum class Place : std::uint8_t {
    kStart,
    kRoot,
    kTensor,
    kShape,
    kOffsets,
    kMetadata,
    kEnd,
  };
  // Bits of the fields of a tensor.
  static constexpr unsigned kDtypeField = 1;
  static constexpr unsigned kShapeField = 2;
  static constexpr unsigned kOffsetsField = 4;
  static constexpr unsigned kAllFields = 7;

  bool Fail(const std::string& what) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError("safetensors header: " + what);
    }
    return false;
  }

  bool Unexpected(std::string_view got) {
    switch (place_) {
      case Place::kStart:
      case Place::kEnd:
        return Fail(FormatText("got {}, expected an object", got));
      case Place::kRoot:
        return Fail(
            FormatText("entry {} is {}, expected an object", Quote(key_), got));
      case Place::kMetadata:
        return Fail(FormatText("metadata {} is {}, expected a string",
                               Quote(key_), got));
      case Place::kShape:
      case Place::kOffsets:
        return Fail(FormatText(
            "{} of tensor {} contains {}, expected non-negative integers", key_,
            Quote(entry_->first), got));
      case Place::kTensor:
        break;
    }
    return Fail(FormatText("{} of tensor {} is {}, expected {}", key_,
                           Quote(entry_->first), got,
                           field_ == kDtypeField ? "a string" : "an array"));
  }

  bool StartMetadata() {
    if (std::exchange(seen_metadata_, true)) {
      return Fail(FormatText("duplicate key {}", Quote(key_)));
    }
    place_ = Place::kMetadata;
    return true;
  }

  bool StartTensor() {
    if (header_.entries.size() >= SafetensorsView::kMaxTensors) {
      return Fail(
          FormatText("more than {} tensors", SafetensorsView::kMaxTensors));
    }
    entry_ = header_.entries.try_emplace(key_).first;
    place_ = Place::kTensor;
    seen_fields_ = 0;
    return true;
  }

  // Return 0 for a name no field has.
  static unsigned FieldNamed(std::string_view name) {
    if (name == "dtype") return kDtypeField;
    if (name == "shape") return kShapeField;
    return name == "data_offsets" ? kOffsetsField : 0;
  }

  bool StartField() {
    field_ = FieldNamed(key_);
    if (field_ == 0 || (seen_fields_ & field_) != 0) {
      return Fail(FormatText(
          "tensor {} has {} field {}, expected dtype, shape and data_offsets",
          Quote(entry_->first), field_ == 0 ? "an unknown" : "a duplicate",
          Quote(key_)));
    }
    seen_fields_ |= field_;
    num_offsets_ = 0;
    return true;
  }

  bool AddDim(std::uint64_t value) {
    std::vector<std::int64_t>& dims = entry_->second.dims;
    if (dims.size() == Shape::kMaxRank) {
      return Fail(FormatText("tensor {} has more than {} dimensions",
                             Quote(entry_->first), Shape::kMaxRank));
    }
    constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
    dims.push_back(static_cast<std::int64_t>(std::min(value, kMax)));
    return true;
  }

  bool AddOffset(std::uint64_t value) {
    if (num_offsets_ == 0) entry_->second.begin = value;
    if (num_offsets_ == 1) entry_->second.end = value;
    // A third one is counted, and refused at the end of the array.
    ++num_offsets_;
    return true;
  }

  absl::Status status_;
  SafetensorsHeader header_;
  Place place_ = Place::kStart;
  std::string key_;
  bool seen_metadata_ = false;
  // Of the tensor being read.
  std::map<std::string, SafetensorsEntry, std::less<>>::iterator entry_;
  unsigned field_ = 0;
  unsigned seen_fields_ = 0;
  std::size_t num_offsets_ = 0;
};

// What is wrong with a file's start, or which other file it is of.
absl::Status StartError(std::string_view start, const std::string& what) {
  const std::string_view foreign = DescribeForeignFile(start);
  return absl::InvalidArgumentError(
      foreign.empty() ? "safetensors file: " + what
                      : FormatText("not a safetensors file but {}", foreign));
}

}  // namespace

const SafetensorsDtype* FindSafetensorsDtype(std::string_view name) {
  const auto* found = std::ranges::find(kDtypes, name, &SafetensorsDtype::name);
  return found == kDtypes.end() ? nullptr : found;
}

std::string_view SafetensorsDtypeName(DataType dtype) {
  return std::ranges::find(kDtypes, std::optional(dtype),
                           &SafetensorsDtype::dtype)
      ->name;
}

absl::StatusOr<std::size_t> SafetensorsHeaderLength(std::string_view start,
                                                    std::size_t file_bytes) {
  if (start.size() < kSafetensorsLengthBytes) {
    return StartError(
        start, FormatText("{} bytes, expected at least {}: {}", start.size(),
                          kSafetensorsLengthBytes,
                          start.empty() ? "it is empty" : "it is cut off"));
  }
  std::uint64_t length = 0;
  for (std::size_t i = kSafetensorsLengthBytes; i-- > 0;) {
    length = length << 8 | static_cast<unsigned char>(start[i]);
  }
  if (length > SafetensorsView::kMaxHeaderBytes) {
    return StartError(start,
                      FormatText("the header has {} bytes, expected at most {}",
                                 length, SafetensorsView::kMaxHeaderBytes));
  }
  // Only where no header can begin, by a brace or white space, may another
  // file be seen: the length may look like anything.
  constexpr std::string_view kBegin = "{ \t\r\n";
  const std::string_view header = start.substr(kSafetensorsLengthBytes);
  const bool is_header =
      !header.empty() && kBegin.find(header.front()) != std::string_view::npos;
  const std::size_t rest = file_bytes - kSafetensorsLengthBytes;
  if (length > rest) {
    return StartError(is_header ? std::string_view() : start,
                      FormatText("the header has {} bytes, the file only {} "
                                 "more: it is cut off",
                                 length, rest));
  }
  if (!is_header && !DescribeForeignFile(start).empty()) {
    return StartError(start, "no header");
  }
  return static_cast<std::size_t>(length);
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(
    std::string_view json) {
  // The JSON parser would skip a byte order mark and stop at a NUL.
  const std::size_t first = json.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || json[first] != '{') {
    return absl::InvalidArgumentError(
        "safetensors header: expected a JSON object");
  }
  if (const std::size_t nul = json.find('\0'); nul != std::string_view::npos) {
    return absl::InvalidArgumentError(
        FormatText("safetensors header: malformed JSON at byte {}", nul + 1));
  }
  HeaderHandler handler;
  // The outcome is in the handler, which fails whenever the parser does.
  static_cast<void>(
      nlohmann::json::sax_parse(json.begin(), json.end(), &handler));
  return std::move(handler).Finish();
}

}  // namespace attention
