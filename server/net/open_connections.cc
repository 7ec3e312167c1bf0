// SPDX-License-Identifier: Apache-2.0
#include "server/net/open_connections.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "server/net/peer_name.h"

namespace attention {
namespace {

constexpr std::size_t kEndsAtOnce = 64;

std::string PeerOf(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  // gRPC does not tell those apart either that are gone already.
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return "";
  }
  return PeerName(address);
}

}  // namespace

absl::StatusOr<std::unique_ptr<OpenConnections>> OpenConnections::Create(
    std::size_t max_connections) {
  UniqueFd ends(epoll_create1(EPOLL_CLOEXEC));
  if (!ends.valid()) return ErrnoStatus(errno, "cannot count connections");
  return std::unique_ptr<OpenConnections>(
      new OpenConnections(std::move(ends), max_connections));
}

OpenConnections::OpenConnections(UniqueFd ends, std::size_t max_connections)
    : ends_(std::move(ends)), max_connections_(max_connections) {}

bool OpenConnections::HasRoom() {
  if (count() >= max_connections_) ForgetEnded();
  return count() < max_connections_;
}

absl::Status OpenConnections::Add(int socket) {
  auto connection = std::make_shared<OpenConnection>();
  connection->socket = UniqueFd(fcntl(socket, F_DUPFD_CLOEXEC, 0));
  if (!connection->socket.valid()) {
    return ErrnoStatus(errno, "cannot count a connection");
  }
  connection->peer = PeerOf(socket);
  const int number = connection->socket.get();
  const std::lock_guard lock(mutex_);
  connections_.emplace(number, connection);
  epoll_event event{};  // that both directions are shut is always told
  event.data.fd = number;
  if (epoll_ctl(ends_.get(), EPOLL_CTL_ADD, number, &event) != 0) {
    const int error = errno;
    Forget(number);
    return ErrnoStatus(error, "cannot count a connection");
  }
  if (connection->peer.empty()) return absl::OkStatus();
  named_.erase(connection->peer);  // its key is another's, on another address
  named_.emplace(connection->peer, connection.get());
  return absl::OkStatus();
}

void OpenConnections::ForgetEnded() {
  std::array<epoll_event, kEndsAtOnce> events{};
  int count = 0;
  do {
    count = epoll_wait(ends_.get(), events.data(),
                       static_cast<int>(events.size()), /*timeout=*/0);
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < count; ++i) {
      Forget(events[static_cast<std::size_t>(i)].data.fd);
    }
  } while (count == static_cast<int>(events.size()));
}

void OpenConnections::Forget(int number) {
  // The end of our descriptor does not take it out while another is open.
  epoll_ctl(ends_.get(), EPOLL_CTL_DEL, number, nullptr);
  const auto found = connections_.find(number);
  if (found == connections_.end()) return;
  const auto named = named_.find(found->second->peer);
  if (named != named_.end() && named->second == found->second.get()) {
    named_.erase(named);
  }
  connections_.erase(found);
}

std::size_t OpenConnections::count() const {
  const std::lock_guard lock(mutex_);
  return connections_.size();
}

std::vector<std::shared_ptr<OpenConnection>> OpenConnections::ListNamed()
    const {
  std::vector<std::shared_ptr<OpenConnection>> named;
  const std::lock_guard lock(mutex_);
  named.reserve(connections_.size());
  for (const auto& [number, connection] : connections_) {
    if (!connection->peer.empty()) named.push_back(connection);
  }
  return named;
}

// HTTP/2's frames (RFC 9113, 4.1) and gRPC's prefix; of what else belongs to a
// call, headers above all, about as much as comes.
std::uint64_t OpenConnections::BytesOnTheWire(std::size_t num_bytes) {
  constexpr std::uint64_t kFrameBytes = 16'384;
  constexpr std::uint64_t kFrameHeaderBytes = 9;
  constexpr std::uint64_t kPrefixBytes = 5;
  constexpr std::uint64_t kOtherBytes = 100;
  return num_bytes + kFrameHeaderBytes * (num_bytes / kFrameBytes + 1) +
         kPrefixBytes + kOtherBytes;
}

void OpenConnections::CountMessage(std::string_view peer,
                                   std::size_t num_bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = named_.find(peer);
  if (found != named_.end()) {
    found->second->delivered_bytes += BytesOnTheWire(num_bytes);
  }
}

}  // namespace attention
