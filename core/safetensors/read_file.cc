// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/read_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>

#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

absl::Status ReadError(int error) {
  return absl::InternalError(FormatText(
      "cannot read the file: {}", std::generic_category().message(error)));
}

}  // namespace

absl::StatusOr<std::size_t> FileSize(int file) {
  struct stat info{};
  if (fstat(file, &info) != 0) return ReadError(errno);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError("not a regular file");
  }
  return static_cast<std::size_t>(info.st_size);
}

absl::Status ReadAt(int file, std::size_t offset, std::span<std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    // Linux reads at most about 2 GiB at once; asking for less is portable.
    constexpr std::size_t kMaxRead = std::size_t{1} << 30;
    const ssize_t count = pread(file, bytes.data() + done,
                                std::min(bytes.size() - done, kMaxRead),
                                static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ReadError(errno);
    if (count == 0) {
      return absl::InternalError(
          FormatText("the file ends after {} bytes, expected {}: it was "
                     "truncated while being read",
                     offset + done, offset + bytes.size()));
    }
    done += static_cast<std::size_t>(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<AlignedBuffer> ReadFile(int file, std::size_t max_bytes) {
  ATTENTION_ASSIGN_OR_RETURN(const std::size_t size, FileSize(file));
  if (size > max_bytes) {
    return absl::ResourceExhaustedError(FormatText(
        "the file has {} bytes, expected at most {}", size, max_bytes));
  }
  try {
    AlignedBuffer buffer(size);
    ATTENTION_RETURN_IF_ERROR(ReadAt(file, 0, {buffer.data(), buffer.size()}));
    return buffer;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        FormatText("no memory for a file of {} bytes", size));
  }
}

}  // namespace attention
