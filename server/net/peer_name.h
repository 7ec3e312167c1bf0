// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <string>

namespace attention {

/// Name a TCP peer as gRPC does, such as "ipv4:127.0.0.1:4711" or
/// "ipv6:%5B::1%5D:4711"; an IPv4 address mapped into IPv6 is an IPv4 address.
/// \return "" for any other family.
[[nodiscard]] std::string PeerName(const sockaddr_storage& address);

}  // namespace attention
