// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/net/message_arrivals.h"
#include "server/repository/unix_file.h"

namespace attention {

/// A connection that is, or was, open. The socket is a second descriptor of it.
struct OpenConnection {
  UniqueFd socket;
  std::string peer;  ///< as PeerName
  /// What messages that came whole have taken on the wire, about.
  std::atomic<std::uint64_t> delivered_bytes{0};
  MessageArrivals arrivals;  ///< for one thread that looks at it
};

/// Knows the connections that are open. Thread-safe.
///
/// A connection belongs to somebody else, who shuts it down before closing it,
/// as gRPC does. A second descriptor of it tells that, or that the peer is
/// gone.
class OpenConnections {
 public:
  /// \return as ErrnoStatus.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<OpenConnections>> Create(
      std::size_t max_connections);

  /// Whether one more may come.
  [[nodiscard]] bool HasRoom();
  /// Add a socket, which is known until its end. \return as ErrnoStatus; it is
  /// not known then.
  [[nodiscard]] absl::Status Add(int socket);

  /// A descriptor that is readable when connections have ended.
  [[nodiscard]] int ends() const { return ends_.get(); }
  /// Not beside Add or itself.
  void ForgetEnded();

  [[nodiscard]] std::size_t count() const;
  [[nodiscard]] std::size_t max_connections() const { return max_connections_; }
  /// Those over TCP, whose peers have names.
  [[nodiscard]] std::vector<std::shared_ptr<OpenConnection>> ListNamed() const;

  /// Count a message that has come whole. \param peer from whom, as gRPC names
  /// it.
  void CountMessage(std::string_view peer, std::size_t num_bytes);

 private:
  OpenConnections(UniqueFd ends, std::size_t max_connections);
  [[nodiscard]] static std::uint64_t BytesOnTheWire(std::size_t num_bytes);
  void Forget(int number);

  const UniqueFd ends_;  ///< an epoll instance
  const std::size_t max_connections_;
  mutable std::mutex mutex_;  // guards all below
  /// By the number of our descriptor, and those over TCP by their peer: of two
  /// with the same, to different addresses of ours, the later.
  std::unordered_map<int, std::shared_ptr<OpenConnection>> connections_;
  std::unordered_map<std::string_view, OpenConnection*> named_;
};

}  // namespace attention
