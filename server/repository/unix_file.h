// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attention {

/// Owner of a file descriptor. Move-only.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd();

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  /// Give it up, open as it is.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// Make a status of an errno value: NOT_FOUND (no such entry),
/// RESOURCE_EXHAUSTED (no space, quota, descriptors or memory left),
/// FAILED_PRECONDITION (not permitted, read-only), INVALID_ARGUMENT (a link or
/// another kind of file than expected), else INTERNAL.
/// \param what begins the text: "cannot write module 'a'".
[[nodiscard]] absl::Status ErrnoStatus(int error, std::string_view what);

/// Return the type (S_IFMT bits of st_mode) of an entry of `directory`; of a
/// symbolic link, that it is one.
/// \return as ErrnoStatus: NOT_FOUND only when there is none.
[[nodiscard]] absl::StatusOr<mode_t> EntryType(int directory,
                                               const std::string& name);

/// List the names in a directory, "." and ".." excepted, in no order.
/// \return as ErrnoStatus, also when its entries may not be reached.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> ListDirectory(
    int directory);

/// Write all bytes. \return as ErrnoStatus.
[[nodiscard]] absl::Status WriteAll(int file, std::span<const std::byte> bytes);

}  // namespace attention
