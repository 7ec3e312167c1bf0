// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/net/socket_address.h"
#include "server/repository/unix_file.h"

namespace attention {

/// A socket that listens; its file, if it has one, goes with it. Move-only.
class ListeningSocket {
 public:
  /// \param path of a UNIX socket, else empty.
  ListeningSocket(UniqueFd socket, std::string path);
  ListeningSocket(ListeningSocket&& other) noexcept = default;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ListeningSocket(const ListeningSocket&) = delete;
  ListeningSocket& operator=(const ListeningSocket&) = delete;
  ~ListeningSocket();

  [[nodiscard]] int get() const { return socket_.get(); }

 private:
  UniqueFd socket_;
  std::string path_;
};

/// Listen on "HOST:PORT" or "unix:PATH" (ValidateListenAddress).
///
/// A host's addresses are all listened on, on one port, but for those that this
/// machine does not have, if it has one; 0.0.0.0 and [::] stand for every
/// address of both families. A port is shared with nobody. Connections send at
/// once, and end when a peer has acknowledged nothing for `unacknowledged`. The
/// file of a UNIX socket has mode 0600.
/// \param address gets the port chosen in place of port 0.
/// \return an error naming the address and why it cannot be listened on.
[[nodiscard]] absl::StatusOr<std::vector<ListeningSocket>> ListenOn(
    std::chrono::milliseconds unacknowledged, std::string* address);

/// As ListenOn, on the addresses that `address` stands for, at least one.
[[nodiscard]] absl::StatusOr<std::vector<ListeningSocket>> ListenOnAll(
    std::chrono::milliseconds unacknowledged,
    std::vector<SocketAddress> addresses, std::string* address);

}  // namespace attention
