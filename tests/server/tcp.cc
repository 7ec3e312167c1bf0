// SPDX-License-Identifier: Apache-2.0
#include "tests/server/tcp.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "server/net/listen_address.h"

namespace attention::testing {
namespace {

UniqueFd ConnectTo(const sockaddr* address, socklen_t size) {
  UniqueFd fd(socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), address, size) != 0) {
    const int error = errno;
    fd = UniqueFd();
    errno = error;
  }
  return fd;
}

}  // namespace

UniqueFd ConnectSocket(const std::string& address) {
  if (const auto path = UnixSocketPath(address)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path->data(),
                std::min(path->size(), sizeof(name.sun_path) - 1));
    return ConnectTo(reinterpret_cast<const sockaddr*>(&name), sizeof(name));
  }
  const std::size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  if (getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints,
                  &list) != 0) {
    errno = EINVAL;
    return UniqueFd();
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list,
                                                                 &freeaddrinfo);
  return ConnectTo(list->ai_addr, list->ai_addrlen);
}

void WaitUntilClosed(int socket) {
  std::array<char, 4096> buffer{};
  while (recv(socket, buffer.data(), buffer.size(), 0) > 0) {
  }
}

}  // namespace attention::testing
