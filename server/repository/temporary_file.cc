// SPDX-License-Identifier: Apache-2.0
#include "server/repository/temporary_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// No module name begins with a dot, so no module can be taken for a temporary.
constexpr std::string_view kPrefix = ".attention-upload-";
constexpr std::string_view kSuffix = ".tmp";

std::string NextName() {
  static std::atomic<std::uint64_t> counter{0};
  return FormatText("{}{}-{}{}", kPrefix, getpid(), counter.fetch_add(1),
                    kSuffix);
}

/// Whether a sweeper removed the file between its creation and its locking.
bool IsSwept(int fd) {
  struct stat info{};
  return fstat(fd, &info) == 0 && info.st_nlink == 0;
}

void SweepOne(int directory, const std::string& name) {
  const UniqueFd file(openat(directory, name.c_str(),
                             O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  // The lock is held as long as the writer lives.
  if (!file.valid() || flock(file.get(), LOCK_EX | LOCK_NB) != 0) return;
  unlinkat(directory, name.c_str(), 0);
}

}  // namespace

TemporaryFile::TemporaryFile(int directory, std::string name, UniqueFd fd)
    : directory_(directory), name_(std::move(name)), fd_(std::move(fd)) {}

TemporaryFile::TemporaryFile(TemporaryFile&& other) noexcept
    : directory_(other.directory_),
      name_(std::exchange(other.name_, {})),
      fd_(std::move(other.fd_)) {}

TemporaryFile::~TemporaryFile() {
  if (!name_.empty()) unlinkat(directory_, name_.c_str(), 0);
}

absl::StatusOr<TemporaryFile> TemporaryFile::Create(int directory) {
  constexpr mode_t kMode = 0644;
  while (true) {
    std::string name = NextName();
    UniqueFd fd(openat(directory, name.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
    // A left-over of an earlier process with our id may have the name.
    if (!fd.valid() && errno == EEXIST) continue;
    if (!fd.valid()) return ErrnoStatus(errno, "cannot create a file");
    TemporaryFile file(directory, std::move(name), std::move(fd));
    if (flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
      // A sweeper has it at this moment and is about to remove it.
      if (errno == EWOULDBLOCK) continue;
      return ErrnoStatus(errno, "cannot lock a file");
    }
    if (!IsSwept(file.fd())) return file;
  }
}

absl::Status TemporaryFile::Commit(const std::string& name) {
  if (fsync(fd_.get()) != 0) {
    return ErrnoStatus(errno, "cannot flush the file");
  }
  if (renameat(directory_, name_.c_str(), directory_, name.c_str()) != 0) {
    return ErrnoStatus(errno, "cannot put the file in its place");
  }
  name_.clear();
  if (fsync(directory_) != 0) {
    return ErrnoStatus(errno, "cannot flush the directory");
  }
  return absl::OkStatus();
}

absl::Status SweepTemporaries(int directory) {
  ATTENTION_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                             ListDirectory(directory));
  for (const std::string& name : names) {
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix)) {
      SweepOne(directory, name);
    }
  }
  return absl::OkStatus();
}

}  // namespace attention
