// SPDX-License-Identifier: Apache-2.0
#include "server/repository/unix_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>
#include <vector>

#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"

namespace attention {
namespace {

absl::StatusCode CodeOfErrno(int error) {
  switch (error) {
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kFailedPrecondition;
    case ELOOP:    // too many symbolic links
    case ENOTDIR:  // a file, where a folder is expected
    case EISDIR:
    case ENXIO:  // a socket
    case ENAMETOOLONG:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kInternal;
  }
}

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

}  // namespace

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) close(fd_);
}

absl::Status ErrnoStatus(int error, std::string_view what) {
  return {CodeOfErrno(error),
          FormatText("{}: {}", what, std::generic_category().message(error))};
}

absl::StatusOr<mode_t> EntryType(int directory, const std::string& name) {
  struct stat info{};
  if (fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoStatus(errno, FormatText("cannot look up {}", Quote(name)));
  }
  return info.st_mode & S_IFMT;
}

absl::StatusOr<std::vector<std::string>> ListDirectory(int directory) {
  // A descriptor of its own, because the position in the listing belongs to it.
  const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "cannot open the directory");
  const std::unique_ptr<DIR, CloseDirectory> listing(fdopendir(fd));
  if (listing == nullptr) {
    const int error = errno;
    close(fd);
    return ErrnoStatus(error, "cannot list the directory");
  }
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(listing.get());
    if (entry == nullptr && errno != 0) {
      return ErrnoStatus(errno, "cannot list the directory");
    }
    if (entry == nullptr) return names;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
}

absl::Status WriteAll(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, "cannot write the file");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return absl::OkStatus();
}

}  // namespace attention
