// SPDX-License-Identifier: Apache-2.0
#include "server/net/open_connections.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <utility>

namespace attention {
namespace {

constexpr std::size_t kEndsAtOnce = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<OpenConnections>> OpenConnections::Create() {
  UniqueFd ends(epoll_create1(EPOLL_CLOEXEC));
  if (!ends.valid()) return ErrnoStatus(errno, "cannot count connections");
  return std::unique_ptr<OpenConnections>(new OpenConnections(std::move(ends)));
}

OpenConnections::OpenConnections(UniqueFd ends) : ends_(std::move(ends)) {}

absl::Status OpenConnections::Add(int socket) {
  UniqueFd ours(fcntl(socket, F_DUPFD_CLOEXEC, 0));
  if (!ours.valid()) return ErrnoStatus(errno, "cannot count a connection");
  const int number = ours.get();
  const auto added = sockets_.emplace(number, std::move(ours)).first;
  epoll_event event{};  // that both directions are shut is always told
  event.data.fd = number;
  if (epoll_ctl(ends_.get(), EPOLL_CTL_ADD, number, &event) != 0) {
    const int error = errno;
    sockets_.erase(added);
    return ErrnoStatus(error, "cannot count a connection");
  }
  count_ = sockets_.size();
  return absl::OkStatus();
}

void OpenConnections::ForgetEnded() {
  std::array<epoll_event, kEndsAtOnce> events{};
  int count = 0;
  do {
    count = epoll_wait(ends_.get(), events.data(),
                       static_cast<int>(events.size()), /*timeout=*/0);
    for (int i = 0; i < count; ++i) {
      const int number = events[static_cast<std::size_t>(i)].data.fd;
      // The end of our descriptor does not take it out while another is open.
      epoll_ctl(ends_.get(), EPOLL_CTL_DEL, number, nullptr);
      sockets_.erase(number);
    }
  } while (count == static_cast<int>(events.size()));
  count_ = sockets_.size();
}

}  // namespace attention
