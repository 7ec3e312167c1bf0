// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/repository/unix_file.h"

namespace attention {

/// A file being written under a temporary name in the directory where it will
/// live, which it enters whole or not at all.
///
/// It is locked (flock) as long as its writer lives, which tells a left-over
/// of a crash from a file another process is writing.
/// Lifetime: borrows `directory`. Move-only. Not thread-safe.
class TemporaryFile {
 public:
  /// Create it. \return as ErrnoStatus.
  [[nodiscard]] static absl::StatusOr<TemporaryFile> Create(int directory);
  /// Remove it unless committed.
  ~TemporaryFile();
  TemporaryFile(TemporaryFile&& other) noexcept;
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Make it durable and put it in the place of `name`, atomically: flush the
  /// file, rename it, flush the directory. After a crash at any point `name` is
  /// what it was before, or this file.
  /// \return as ErrnoStatus.
  [[nodiscard]] absl::Status Commit(const std::string& name);

 private:
  TemporaryFile(int directory, std::string name, UniqueFd fd);

  int directory_;
  std::string name_;  ///< empty once committed
  UniqueFd fd_;
};

/// Remove what writers that are gone left in `directory`; what we may not
/// remove stays.
/// \return as ErrnoStatus, when the directory cannot be listed.
[[nodiscard]] absl::Status SweepTemporaries(int directory);

}  // namespace attention
