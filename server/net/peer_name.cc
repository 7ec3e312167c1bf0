// SPDX-License-Identifier: Apache-2.0
#include "server/net/peer_name.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <cstring>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

// Where an IPv4 address stands in an IPv6 address it is mapped into.
constexpr std::size_t kMappedOffset = 12;

std::string HostText(int family, const void* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (inet_ntop(family, address, text.data(), text.size()) == nullptr) {
    return "";
  }
  return text.data();
}

std::string Ipv4Name(const void* address, in_port_t port) {
  return FormatText("ipv4:{}:{}", HostText(AF_INET, address), ntohs(port));
}

}  // namespace

std::string PeerName(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    sockaddr_in ipv4{};
    std::memcpy(&ipv4, &address, sizeof(ipv4));
    return Ipv4Name(&ipv4.sin_addr, ipv4.sin_port);
  }
  if (address.ss_family != AF_INET6) return "";
  sockaddr_in6 ipv6{};
  std::memcpy(&ipv6, &address, sizeof(ipv6));
  if (IN6_IS_ADDR_V4MAPPED(&ipv6.sin6_addr)) {
    return Ipv4Name(ipv6.sin6_addr.s6_addr + kMappedOffset, ipv6.sin6_port);
  }
  std::string host = HostText(AF_INET6, &ipv6.sin6_addr);
  // A URI: brackets and the percent sign before a zone are escaped.
  if (ipv6.sin6_scope_id != 0) host += FormatText("%25{}", ipv6.sin6_scope_id);
  return FormatText("ipv6:%5B{}%5D:{}", host, ntohs(ipv6.sin6_port));
}

}  // namespace attention
