// SPDX-License-Identifier: Apache-2.0
#include "tests/server/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "tests/server/tcp.h"

namespace attention::testing {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{64} << 10U;

}  // namespace

Relay::Relay(std::string server, const Limits& limits)
    : server_(std::move(server)),
      limits_(limits),
      sockets_(*ListenOn(std::chrono::minutes(1), &address_)),
      thread_([this] { RunLoop(); }) {}

Relay::~Relay() {
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
    for (const UniqueFd& end : ends_) shutdown(end.get(), SHUT_RDWR);
  }
  shutdown(sockets_.front().get(), SHUT_RDWR);  // accepting fails
}

void Relay::RunLoop() {
  while (true) {
    pollfd file{sockets_.front().get(), POLLIN, 0};
    poll(&file, 1, /*timeout=*/-1);
    UniqueFd client(
        accept4(sockets_.front().get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.valid()) return;
    UniqueFd server = ConnectSocket(server_);
    const std::lock_guard lock(mutex_);
    if (is_closing_) return;
    const int from = client.get();
    const int to = server.get();
    ends_.push_back(std::move(client));
    ends_.push_back(std::move(server));
    passers_.emplace_back(
        [this, from, to] { Pass(from, to, limits_.to_server); });
    passers_.emplace_back(
        [this, from, to] { Pass(to, from, limits_.to_client); });
  }
}

void Relay::Pass(int from, int to, std::size_t limit) {
  std::vector<char> chunk(kChunkBytes);
  while (limit > 0) {
    const ssize_t count =
        recv(from, chunk.data(), std::min(chunk.size(), limit), 0);
    if (count <= 0) break;
    const auto size = static_cast<std::size_t>(count);
    limit -= size;
    std::size_t sent = 0;
    while (sent < size) {
      const ssize_t step =
          send(to, chunk.data() + sent, size - sent, MSG_NOSIGNAL);
      if (step <= 0) break;
      sent += static_cast<std::size_t>(step);
    }
    if (sent < size) break;
  }
  if (limit == 0) return;
  // Either end has gone, and so the other.
  shutdown(from, SHUT_RDWR);
  shutdown(to, SHUT_RDWR);
}

}  // namespace attention::testing
