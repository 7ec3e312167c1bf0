// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace attention {

/// A socket's address: of IPv4 or IPv6, and a port.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] sockaddr* get() {
    return reinterpret_cast<sockaddr*>(&storage);
  }
  [[nodiscard]] in_port_t* port() {
    return storage.ss_family == AF_INET6
               ? &reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port
               : &reinterpret_cast<sockaddr_in*>(&storage)->sin_port;
  }
  [[nodiscard]] bool operator==(const SocketAddress& other) const;
};

/// Return all addresses, at least one, that a "HOST:PORT" stands for.
/// \return UNAVAILABLE saying why there are none.
[[nodiscard]] absl::StatusOr<std::vector<SocketAddress>> ResolveHost(
    std::string_view address);

}  // namespace attention
