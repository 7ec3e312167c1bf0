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
#include <utility>

#include "client/cpp/cli/npy.h"
#include "core/module/read_file.h"
#include "core/module/safetensors_header.h"
#include "core/module/safetensors_writer.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"

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
        std::format("cannot open {}: {}", path.string(), std::strerror(errno)));
  }
  auto result = read(file.descriptor());
  if (!result.ok()) return AnnotateStatus(path.string(), result.status());
  return result;
}

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
  if (!name.empty()) {
    const auto found = tensors.find(name);
    if (found != tensors.end()) return found->second;
    return absl::NotFoundError(std::format(
        "there is no tensor \"{}\"; the file has {}", name, NamesOf(tensors)));
  }
  const auto found = tensors.find(role);
  if (found != tensors.end()) return found->second;
  if (tensors.size() == 1) return tensors.begin()->second;
  return absl::NotFoundError(
      std::format("none of the file's tensors is called \"{}\"; name one as "
                  "FILE:TENSOR; the file has {}",
                  role, NamesOf(tensors)));
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
  return ReadWith(path, [](int file) {
    return SafetensorsFile::Read(file, kMaxFileBytes);
  });
}

absl::StatusOr<SafetensorsMetadata> ReadSafetensorsMetadata(
    const std::filesystem::path& path) {
  return ReadWith(path, [](int file) { return ReadMetadata(file); });
}

absl::StatusOr<Tensor> ReadTensorFile(std::string_view location,
                                      std::string_view role) {
  if (location.ends_with(".npy")) {
    const std::filesystem::path path(location);
    return ReadWith(path, [](int file) -> absl::StatusOr<Tensor> {
      ATTENTION_ASSIGN_OR_RETURN(const AlignedBuffer bytes,
                                 ReadFile(file, kMaxFileBytes));
      return ParseNpy({bytes.data(), bytes.size()});
    });
  }
  constexpr std::string_view kExtension = ".safetensors";
  const std::size_t at = location.rfind(kExtension);
  const std::size_t end =
      at == std::string_view::npos ? at : at + kExtension.size();
  if (end == std::string_view::npos ||
      (end < location.size() && location[end] != ':')) {
    return absl::InvalidArgumentError(std::format(
        "\"{}\": expected FILE.npy or FILE.safetensors[:TENSOR]", location));
  }
  const std::filesystem::path path(location.substr(0, end));
  const std::string_view name =
      end < location.size() ? location.substr(end + 1) : std::string_view();
  ATTENTION_ASSIGN_OR_RETURN(const SafetensorsFile file,
                             ReadSafetensorsFile(path));
  const absl::StatusOr<TensorView> tensor =
      SelectTensor(file.view().tensors(), name, role);
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
  return absl::InternalError(std::format("cannot write {}", path.string()));
}

}  // namespace attention
