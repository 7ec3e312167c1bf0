// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/tensor_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "client/cpp/cli/npy.h"
#include "core/safetensors/foreign_file.h"
#include "core/safetensors/read_file.h"
#include "core/safetensors/safetensors_header.h"
#include "core/safetensors/safetensors_writer.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"
#include "core/usage/usage_text.h"

namespace attention {
namespace {

// The user's own files: as large as memory allows.
constexpr std::size_t kMaxFileBytes = std::numeric_limits<std::size_t>::max();

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

// Open a file and read it in some way; errors name the file.
template <typename Read>
auto ReadWith(const std::filesystem::path& path, Read read)
    -> decltype(read(0)) {
  const OpenFile file(path);
  if (file.descriptor() < 0) {
    return absl::NotFoundError(
        FormatText("cannot open {}: {}", path.string(), std::strerror(errno)));
  }
  auto result = read(file.descriptor());
  if (!result.ok()) return AnnotateStatus(path.string(), result.status());
  return result;
}

// What a file that is no .npy file is, by its first bytes; empty when that
// cannot be told.
std::string_view DescribeOther(std::span<const std::byte> file) {
  const std::string_view start(reinterpret_cast<const char*>(file.data()),
                               std::min(file.size(), kSafetensorsStartBytes));
  if (start.starts_with("\x93NUMPY")) return {};
  if (SafetensorsHeaderLength(start, file.size()).ok()) {
    return "a safetensors file";
  }
  return DescribeForeignFile(start);
}

absl::StatusOr<Tensor> ReadNpy(int file) {
  ATTENTION_ASSIGN_OR_RETURN(const AlignedBuffer buffer,
                             ReadFile(file, kMaxFileBytes));
  const std::span<const std::byte> bytes(buffer.data(), buffer.size());
  absl::StatusOr<Tensor> tensor = ParseNpy(bytes);
  if (tensor.ok()) return tensor;
  const std::string_view other = DescribeOther(bytes);
  if (other.empty()) return tensor;
  return absl::InvalidArgumentError(
      FormatText("not a .npy file but {}", other));
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
  return absl::InternalError(FormatText("cannot write {}", path.string()));
}

}  // namespace

absl::StatusOr<SafetensorsFile> ReadSafetensorsFile(
    const std::filesystem::path& path) {
  return ReadWith(path, [](int file) {
    return SafetensorsFile::Read(file, kMaxFileBytes);
  });
}

absl::StatusOr<SafetensorsMetadata> ReadSafetensorsMetadata(
    const std::filesystem::path& path) {
  return ReadWith(path, SafetensorsFile::ReadMetadata);
}

std::string CheckTensorLocation(const std::string& location) {
  if (SplitLocation(location)) return {};
  return FormatText("got '{}', expected FILE.npy or FILE.safetensors[:TENSOR]",
                    location);
}

std::string DescribeMissing(std::string_view name, const NamedTensors& tensors,
                            std::string_view how) {
  std::vector<std::string> names;
  for (const auto& [there, tensor] : tensors) names.push_back(there);
  return FormatText("there is no tensor \"{}\"; the file has {}{}{}{}", name,
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
  if (parts->file.ends_with(".npy")) return ReadWith(path, ReadNpy);
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
    return absl::InvalidArgumentError(FormatText(
        "{}: expected a name ending in .safetensors or .npy", path.string()));
  }
  if (tensors.size() != 1) {
    return absl::InvalidArgumentError(FormatText(
        "{}: a .npy file holds one tensor, got {}; write a .safetensors file "
        "instead",
        path.string(), NamesOf(tensors)));
  }
  ATTENTION_ASSIGN_OR_RETURN(const std::string file,
                             SerializeNpy(tensors.begin()->second));
  return WriteTextFile(path, file);
}

absl::StatusOr<std::string> ReadTextFile(const std::filesystem::path& path) {
  return ReadWith(path, [](int file) -> absl::StatusOr<std::string> {
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
  return absl::InternalError(FormatText("cannot write {}", path.string()));
}

}  // namespace attention
