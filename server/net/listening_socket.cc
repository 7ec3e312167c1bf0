// SPDX-License-Identifier: Apache-2.0
#include "server/net/listening_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"
#include "server/net/listen_address.h"

namespace attention {
namespace {

constexpr int kSocketType = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
// As many as the system allows (net.core.somaxconn).
constexpr int kBacklog = std::numeric_limits<int>::max();
// Of a port that is free on every address of a host.
constexpr int kMaxPortDraws = 100;

// Only the owner may connect to a socket file made while this lives. The mask
// is the process's: nothing else may create files meanwhile.
class PrivateFileMode {
 public:
  PrivateFileMode() : previous_(umask(0177)) {}
  ~PrivateFileMode() { umask(previous_); }
  PrivateFileMode(const PrivateFileMode&) = delete;
  PrivateFileMode& operator=(const PrivateFileMode&) = delete;

 private:
  const mode_t previous_;
};

absl::Status ListenError(std::string_view address, std::string_view why) {
  return absl::UnavailableError(
      FormatText("cannot listen on {}: {}", address, why));
}

std::string Why(int error) {
  switch (error) {
    case EADDRINUSE:
      return "it is in use";
    case EADDRNOTAVAIL:
      return "it is not an address of this machine";
    case EACCES:
    case EPERM:
      return "it is not permitted";
    default:
      return std::generic_category().message(error);
  }
}

bool IsWildcard(SocketAddress address) {
  if (address.storage.ss_family == AF_INET6) {
    return IN6_IS_ADDR_UNSPECIFIED(
        &reinterpret_cast<sockaddr_in6*>(address.get())->sin6_addr);
  }
  return reinterpret_cast<sockaddr_in*>(address.get())->sin_addr.s_addr ==
         htonl(INADDR_ANY);
}

// Every address of a family.
SocketAddress Wildcard(int family, in_port_t port) {
  SocketAddress address;
  address.storage.ss_family = static_cast<sa_family_t>(family);
  address.size =
      family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  *address.port() = port;
  return address;
}

void Set(int socket, int level, int name, int value) {
  setsockopt(socket, level, name, &value, sizeof(value));
}

// Listen on one address. \param port of which, unless it is 0; gets the one
// listened on. \return no socket, with errno set, where it cannot be.
UniqueFd ListenTcp(std::chrono::milliseconds unacknowledged,
                   SocketAddress address, in_port_t* port) {
  UniqueFd fd(socket(address.storage.ss_family, kSocketType, 0));
  if (!fd.valid()) return fd;
  if (*port != 0) *address.port() = *port;
  const int socket = fd.get();
  Set(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  if (address.storage.ss_family == AF_INET6) {
    Set(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  }
  // Connections inherit these.
  Set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  Set(socket, IPPROTO_TCP, TCP_USER_TIMEOUT,
      static_cast<int>(unacknowledged.count()));
  if (bind(socket, address.get(), address.size) != 0 ||
      listen(socket, kBacklog) != 0 ||
      getsockname(socket, address.get(), &address.size) != 0) {
    const int error = errno;
    fd = UniqueFd();
    errno = error;
    return fd;
  }
  *port = *address.port();
  return fd;
}

// Sockets of several addresses on one port, or why there are none.
struct Bound {
  std::vector<ListeningSocket> sockets;
  in_port_t port = 0;
  int error = 0;
};

Bound Bind(std::chrono::milliseconds unacknowledged,
           const std::vector<SocketAddress>& addresses) {
  Bound bound;
  for (auto next = addresses.begin(); next != addresses.end(); ++next) {
    if (std::find(addresses.begin(), next, *next) != next) continue;
    UniqueFd fd = ListenTcp(unacknowledged, *next, &bound.port);
    if (fd.valid()) {
      bound.sockets.emplace_back(std::move(fd), /*path=*/"");
      if (IsWildcard(*next)) break;  // there is no address beside it
      continue;
    }
    bound.error = errno;
    if (bound.error == EAFNOSUPPORT || bound.error == EADDRNOTAVAIL) continue;
    bound.sockets.clear();
    break;
  }
  return bound;
}

absl::StatusOr<std::vector<ListeningSocket>> ListenOnPath(
    const std::string& path, std::string_view address) {
  ATTENTION_RETURN_IF_ERROR(ClearStaleSocket(path));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(),
              std::min(path.size(), sizeof(name.sun_path) - 1));
  UniqueFd fd(socket(AF_UNIX, kSocketType, 0));
  if (!fd.valid()) return ListenError(address, Why(errno));
  {
    const PrivateFileMode owner_only;
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&name),
             sizeof(name)) != 0) {
      return ListenError(address, Why(errno));
    }
  }
  std::vector<ListeningSocket> sockets;
  sockets.emplace_back(std::move(fd), path);
  if (listen(sockets.front().get(), kBacklog) != 0) {
    return ListenError(address, Why(errno));
  }
  return sockets;
}

}  // namespace

ListeningSocket::ListeningSocket(UniqueFd socket, std::string path)
    : socket_(std::move(socket)), path_(std::move(path)) {}

ListeningSocket::~ListeningSocket() {
  if (socket_.valid() && !path_.empty()) unlink(path_.c_str());
}

absl::StatusOr<std::vector<ListeningSocket>> ListenOn(
    std::chrono::milliseconds unacknowledged, std::string* address) {
  ATTENTION_RETURN_IF_ERROR(ValidateListenAddress(*address));
  if (const std::optional<std::string> path = UnixSocketPath(*address)) {
    return ListenOnPath(*path, *address);
  }
  const auto addresses = ResolveHost(*address);
  if (!addresses.ok()) {
    return ListenError(*address, StatusText(addresses.status()));
  }
  return ListenOnAll(unacknowledged, *addresses, address);
}

absl::StatusOr<std::vector<ListeningSocket>> ListenOnAll(
    std::chrono::milliseconds unacknowledged,
    std::vector<SocketAddress> addresses, std::string* address) {
  const in_port_t asked = *addresses.front().port();
  if (std::ranges::any_of(addresses, IsWildcard)) {
    // IPv6 for both families; IPv4 alone where there is no IPv6.
    addresses = {Wildcard(AF_INET6, asked), Wildcard(AF_INET, asked)};
  }
  Bound bound = Bind(unacknowledged, addresses);
  // The system chooses a port that is free on the first of them.
  for (int draw = 1; asked == 0 && bound.sockets.empty() &&
                     bound.error == EADDRINUSE && draw < kMaxPortDraws;
       ++draw) {
    bound = Bind(unacknowledged, addresses);
  }
  if (bound.sockets.empty()) return ListenError(*address, Why(bound.error));
  *address = WithPort(*address, ntohs(bound.port));
  return std::move(bound.sockets);
}

}  // namespace attention
