// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/tensor_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <format>
#include <fstream>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "client/cpp/cli/npy.h"
#include "core/module/read_file.h"
#include "core/module/safetensors_header.h"
#include "core/module/safetensors_writer.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"
#include "core/usage/usage_text.h"

namespace attention {
namespace {

// The user's own files: as large as memory allows.
constexpr std::size_t kMaxFileBytes = std::numeric_limits<std::size_t>::max();

// The kinds of files, as errors call them.
constexpr std::string_view kNpy = "a .npy file";
constexpr std::string_view kSafetensors = "a safetensors file";

// An open file, closed at the end of its scope.
class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path)
      : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~OpenFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

// Read exactly `size` bytes at `offset`; false when the file ends before.
bool ReadAt(int file, std::size_t offset, std::size_t size, char* bytes) {
  while (size > 0) {
    const ssize_t count = pread(file, bytes, size, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes += count;
    offset += static_cast<std::size_t>(count);
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

// What a file is by its first bytes, whatever its name says; empty when that
// cannot be told.
std::string_view KindOf(int file) {
  constexpr std::size_t kLongest = 9;
  std::string start(kLongest, '\0');
  if (!ReadAt(file, 0, start.size(), start.data())) return {};
  if (start.starts_with("\x93NUMPY")) return kNpy;
  if (start.starts_with("PK\3\4")) {
    return "a zip archive, as torch.save and numpy.savez write";
  }
  if (start.starts_with("\x80\2")) return "a pickle, as torch.save wrote once";
  // The header of a safetensors file is JSON behind its length.
  if (start.back() == '{') return kSafetensors;
  return {};
}

// Open a file and read it in some way; errors name the file, and what it is
// when that is not what was expected.
template <typename Read>
auto ReadWith(const std::filesystem::path& path, std::string_view expected,
              Read read) -> decltype(read(0)) {
  const OpenFile file(path);
  if (file.descriptor() < 0) {
    return absl::NotFoundError(
        std::format("cannot open {}: {}", path.string(), std::strerror(errno)));
  }
  auto result = read(file.descriptor());
  if (result.ok()) return result;
  const std::string_view kind = KindOf(file.descriptor());
  if (kind.empty() || kind == expected) {
    return AnnotateStatus(path.string(), result.status());
  }
  return absl::InvalidArgumentError(
      std::format("{} is {}, expected {}", path.string(), kind, expected));
}

absl::StatusOr<SafetensorsMetadata> ReadMetadata(int file) {
  const absl::Status too_short = absl::InvalidArgumentError(
      "not a safetensors file: it ends within its header");
  std::array<unsigned char, 8> prefix{};
  if (!ReadAt(file, 0, prefix.size(), reinterpret_cast<char*>(prefix.data()))) {
    return too_short;
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    length |= std::uint64_t{prefix[i]} << (8 * i);
  }
  if (length > SafetensorsView::kMaxHeaderBytes) {
    return absl::InvalidArgumentError(std::format(
        "not a safetensors file: its header is {} bytes long, expected at most "
        "{}",
        length, SafetensorsView::kMaxHeaderBytes));
  }
  std::string json(length, '\0');
  if (!ReadAt(file, prefix.size(), json.size(), json.data())) return too_short;
  ATTENTION_ASSIGN_OR_RETURN(SafetensorsHeader header,
                             ParseSafetensorsHeader(json));
  return std::move(header.metadata);
}

std::string NamesOf(const NamedTensors& tensors) {
  constexpr std::size_t kMaxNames = 12;
  std::string names;
  std::size_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    if (count++ == kMaxNames) return names + ", ...";
    names += (names.empty() ? "" : ", ") + name;
  }
  return names.empty() ? "no tensors" : names;
}

absl::StatusOr<TensorView> SelectTensor(const NamedTensors& tensors,
                                        std::string_view name,
                                        std::string_view role) {
  const auto found = tensors.find(name.empty() ? role : name);
  if (found != tensors.end()) return found->second;
  if (!name.empty()) {
    return absl::NotFoundError(DescribeMissing(name, tensors));
  }
  if (tensors.size() == 1) return tensors.begin()->second;
  return absl::NotFoundError(
      DescribeMissing(role, tensors, "name one as FILE:TENSOR"));
}

// The file of a location and the tensor named in it, which may be empty.
struct TensorLocation {
  std::string_view file;
  std::string_view tensor;
};

// Split FILE.npy or FILE.safetensors[:TENSOR]; nothing when it is neither.
std::optional<TensorLocation> SplitLocation(std::string_view location) {
  if (location.ends_with(".npy")) return TensorLocation{location, {}};
  constexpr std::string_view kExtension = ".safetensors";
  const std::size_t at = location.rfind(kExtension);
  if (at == std::string_view::npos) return std::nullopt;
  const std::size_t end = at + kExtension.size();
  if (end == location.size()) return TensorLocation{location, {}};
  if (location[end] != ':') return std::nullopt;
  return TensorLocation{location.substr(0, end), location.substr(end + 1)};
}

absl::Status WritePieces(const std::filesystem::path& path,
                         const SerializedSafetensors& file) {
  std::ofstream stream(path, std::ios::binary);
  stream << file.header;
  for (const std::span<const std::byte> piece : file.data) {
    stream.write(reinterpret_cast<const char*>(piece.data()),
                 static_cast<std::streamsize>(piece.size()));
  }
  stream.close();
  if (stream) return absl::OkStatus();
  return absl::InternalError(std::format("cannot write {}", path.string()));
}

}  // namespace

absl::StatusOr<SafetensorsFile> ReadSafetensorsFile(
    const std::filesystem::path& path) {
  return ReadWith(path, kSafetensors, [](int file) {
    return SafetensorsFile::Read(file, kMaxFileBytes);
  });
}

absl::StatusOr<SafetensorsMetadata> ReadSafetensorsMetadata(
    const std::filesystem::path& path) {
  return ReadWith(path, kSafetensors,
                  [](int file) { return ReadMetadata(file); });
}

std::string CheckTensorLocation(const std::string& location) {
  if (SplitLocation(location)) return {};
  return std::format("got '{}', expected FILE.npy or FILE.safetensors[:TENSOR]",
                     location);
}

std::string DescribeMissing(std::string_view name, const NamedTensors& tensors,
                            std::string_view how) {
  std::vector<std::string> names;
  for (const auto& [there, tensor] : tensors) names.push_back(there);
  return std::format("there is no tensor \"{}\"; the file has {}{}{}{}", name,
                     NamesOf(tensors), how.empty() ? "" : "; ", how,
                     DidYouMean(name, names));
}

absl::StatusOr<Tensor> ReadTensorFile(std::string_view location,
                                      std::string_view role) {
  const std::optional<TensorLocation> parts = SplitLocation(location);
  if (!parts) {
    return absl::InvalidArgumentError(
        CheckTensorLocation(std::string(location)));
  }
  const std::filesystem::path path(parts->file);
  if (parts->file.ends_with(".npy")) {
    return ReadWith(path, kNpy, [](int file) -> absl::StatusOr<Tensor> {
      ATTENTION_ASSIGN_OR_RETURN(const AlignedBuffer bytes,
                                 ReadFile(file, kMaxFileBytes));
      return ParseNpy({bytes.data(), bytes.size()});
    });
  }
  ATTENTION_ASSIGN_OR_RETURN(const SafetensorsFile file,
                             ReadSafetensorsFile(path));
  const absl::StatusOr<TensorView> tensor =
      SelectTensor(file.view().tensors(), parts->tensor, role);
  if (!tensor.ok()) return AnnotateStatus(path.string(), tensor.status());
  return Tensor::Copy(*tensor);
}

absl::Status WriteTensorFile(const std::filesystem::path& path,
                             const NamedTensors& tensors) {
  if (path.extension() == ".safetensors") {
    ATTENTION_ASSIGN_OR_RETURN(const SerializedSafetensors file,
                               SerializeSafetensors(tensors));
    return WritePieces(path, file);
  }
  if (path.extension() != ".npy") {
    return absl::InvalidArgumentError(std::format(
        "{}: expected a name ending in .safetensors or .npy", path.string()));
  }
  if (tensors.size() != 1) {
    return absl::InvalidArgumentError(std::format(
        "{}: a .npy file holds one tensor, got {}; write a .safetensors file "
        "instead",
        path.string(), NamesOf(tensors)));
  }
  ATTENTION_ASSIGN_OR_RETURN(const std::string file,
                             SerializeNpy(tensors.begin()->second));
  return WriteTextFile(path, file);
}

absl::StatusOr<std::string> ReadTextFile(const std::filesystem::path& path) {
  return ReadWith(
      path, "a text file", [](int file) -> absl::StatusOr<std::string> {
        ATTENTION_ASSIGN_OR_RETURN(const AlignedBuffer bytes,
                                   ReadFile(file, kMaxFileBytes));
        return std::string(reinterpret_cast<const char*>(bytes.data()),
                           bytes.size());
      });
}

absl::Status WriteTextFile(const std::filesystem::path& path,
                           std::string_view text) {
  std::ofstream stream(path, std::ios::binary);
  stream << text;
  stream.close();
  if (stream) return absl::OkStatus();
  return absl::InternalError(std::format("cannot write {}", path.string()));
}

}  // namespace attention
