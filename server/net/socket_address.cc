// SPDX-License-Identifier: Apache-2.0
#include "server/net/socket_address.h"

#include <netdb.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>

namespace attention {
namespace {

// "127.0.0.1" and "50051" of "127.0.0.1:50051", "::1" of "[::1]:50051".
std::pair<std::string, std::string> SplitHostPort(std::string_view address) {
  const std::size_t colon = address.rfind(':');
  std::string_view host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  return {std::string(host), std::string(address.substr(colon + 1))};
}

}  // namespace

bool SocketAddress::operator==(const SocketAddress& other) const {
  return size == other.size && std::memcmp(&storage, &other.storage, size) == 0;
}

absl::StatusOr<std::vector<SocketAddress>> ResolveHost(
    std::string_view address) {
  const auto [host, port] = SplitHostPort(address);
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  if (const int error =
          getaddrinfo(host.c_str(), port.c_str(), &hints, &list)) {
    return absl::UnavailableError(gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list,
                                                                 &freeaddrinfo);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* info = list; info != nullptr; info = info->ai_next) {
    SocketAddress& found = addresses.emplace_back();
    found.size = info->ai_addrlen;
    std::memcpy(&found.storage, info->ai_addr, info->ai_addrlen);
  }
  return addresses;
}

}  // namespace attention
