// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/repository/unix_file.h"

namespace attention {

/// Counts the connections that are open. Not thread-safe, but for count().
///
/// A connection belongs to somebody else, who shuts it down before closing it,
/// as gRPC does. This has a second descriptor of it, which tells that, or that
/// the peer is gone.
class OpenConnections {
 public:
  /// \return as ErrnoStatus.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<OpenConnections>>
  Create();

  /// Count a socket until its end. \return as ErrnoStatus; it is not counted
  /// then.
  [[nodiscard]] absl::Status Add(int socket);

  /// A descriptor that is readable when connections have ended.
  [[nodiscard]] int ends() const { return ends_.get(); }
  /// Count those no more that have ended.
  void ForgetEnded();

  [[nodiscard]] std::size_t count() const { return count_; }

 private:
  explicit OpenConnections(UniqueFd ends);

  const UniqueFd ends_;                        ///< an epoll instance
  std::unordered_map<int, UniqueFd> sockets_;  ///< ours, by number
  std::atomic<std::size_t> count_{0};          ///< of sockets_
};

}  // namespace attention
