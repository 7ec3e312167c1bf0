// SPDX-License-Identifier: Apache-2.0
#include "server/net/listen_address.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

#include "core/tensor/format_text.h"
#include "server/repository/unix_file.h"

namespace attention {
namespace {

constexpr std::string_view kUnixScheme = "unix:";
constexpr int kMaxPort = 65535;

bool IsListening(const sockaddr_un& address) {
  const UniqueFd socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return connect(socket_fd.get(), reinterpret_cast<const sockaddr*>(&address),
                 sizeof(address)) == 0;
}

}  // namespace

absl::Status ValidateListenAddress(std::string_view address) {
  if (const std::optional<std::string> path = UnixSocketPath(address)) {
    if (!path->empty() && path->size() < sizeof(sockaddr_un::sun_path)) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        FormatText("'{}': expected unix:PATH with a path of 1 to {} bytes",
                   address, sizeof(sockaddr_un::sun_path) - 1));
  }
  const std::size_t colon = address.rfind(':');
  int port = -1;
  if (colon != std::string_view::npos && colon > 0) {
    const std::string_view digits = address.substr(colon + 1);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error == std::errc() && end == digits.data() + digits.size() &&
        port >= 0 && port <= kMaxPort) {
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(FormatText(
      "'{}': expected HOST:PORT with a port from 0 to {}, or unix:PATH",
      address, kMaxPort));
}

std::optional<std::string> UnixSocketPath(std::string_view address) {
  if (!address.starts_with(kUnixScheme)) return std::nullopt;
  return std::string(address.substr(kUnixScheme.size()));
}

std::string WithPort(std::string_view address, int port) {
  if (UnixSocketPath(address)) return std::string(address);
  return FormatText("{}:{}", address.substr(0, address.rfind(':')), port);
}

absl::Status ClearStaleSocket(const std::string& path) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) return absl::OkStatus();
  if (!S_ISSOCK(status.st_mode)) {
    return absl::FailedPreconditionError(FormatText(
        "cannot listen on unix:{}: a file that is no socket is in the way",
        path));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(),
              std::min(path.size(), sizeof(address.sun_path) - 1));
  if (IsListening(address)) {
    return absl::FailedPreconditionError(FormatText(
        "cannot listen on unix:{}: a server is listening there", path));
  }
  unlink(path.c_str());
  return absl::OkStatus();
}

}  // namespace attention
