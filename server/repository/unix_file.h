// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
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

 private:
  int fd_ = -1;
};

/// Make a status of an errno value: NOT_FOUND (no such entry),
/// RESOURCE_EXHAUSTED (no space, quota, descriptors or memory left),
/// FAILED_PRECONDITION (not permitted, read-only), INVALID_ARGUMENT (a link or
/// another kind of file than expected), else INTERNAL.
/// \param what begins the text: "cannot write module 'a'".
[[nodiscard]] absl::Status ErrnoStatus(int error, std::string_view what);

/// Open a file for reading by its path relative to `directory`, which it cannot
/// leave: no component may be empty, "." or "..", and no symbolic link is
/// followed. Does not block on a FIFO.
/// \return INVALID_ARGUMENT for such a path, else as ErrnoStatus.
[[nodiscard]] absl::StatusOr<UniqueFd> OpenBeneath(int directory,
                                                   std::string_view path);

/// Return the type (S_IFMT bits of st_mode) of an entry of `directory`, links
/// not followed; nothing when there is none.
[[nodiscard]] std::optional<mode_t> EntryType(int directory,
                                              const std::string& name);

/// List the names in a directory, "." and ".." excepted, in no order.
/// \return as ErrnoStatus, also when its entries may not be reached.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> ListDirectory(
    int directory);

/// Write all bytes. \return as ErrnoStatus.
[[nodiscard]] absl::Status WriteAll(int file, std::span<const std::byte> bytes);

}  // namespace attention
