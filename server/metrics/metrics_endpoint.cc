// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metrics_endpoint.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "server/net/listen_address.h"

namespace attention {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBacklog = 16;
// How often deadlines are looked at.
constexpr int kLookMilliseconds = 500;

absl::Status CannotListen(const std::string& address, std::string_view why) {
  return absl::UnavailableError(
      FormatText("cannot listen on {}: {}", address, why));
}

std::string ErrnoText() { return std::generic_category().message(errno); }

// Host and port of a valid address; brackets are not the host's.
std::pair<std::string, std::string> Split(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  return {host, address.substr(colon + 1)};
}

// A socket that listens on what `found` says. Its errno tells why it is not
// valid.
UniqueFd ListenOn(const addrinfo& found) {
  UniqueFd listener(
      socket(found.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (listener.valid() &&
      setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ==
          0 &&
      bind(listener.get(), found.ai_addr, found.ai_addrlen) == 0 &&
      listen(listener.get(), kBacklog) == 0) {
    return listener;
  }
  return {};
}

absl::StatusOr<UniqueFd> ListenOn(const std::string& address) {
  const auto [host, port] = Split(address);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(list,
                                                                 &freeaddrinfo);
  std::string why;
  for (const addrinfo* next = found.get(); next != nullptr;
       next = next->ai_next) {
    UniqueFd listener = ListenOn(*next);
    if (listener.valid()) return listener;
    why = ErrnoText();
  }
  return CannotListen(address, why);
}

int PortOf(const UniqueFd& listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  // The port is at the same place in both families.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Listen(
    const std::string& address, PageWriter page) {
  ATTENTION_ASSIGN_OR_RETURN(UniqueFd listener, ListenOn(address));
  UniqueFd stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.valid()) return CannotListen(address, ErrnoText());
  std::string chosen = WithPort(address, PortOf(listener));
  return std::unique_ptr<MetricsEndpoint>(
      new MetricsEndpoint(std::move(listener), std::move(stop),
                          std::move(chosen), std::move(page)));
}

MetricsEndpoint::MetricsEndpoint(UniqueFd listener, UniqueFd stop,
                                 std::string address, PageWriter page)
    : listener_(std::move(listener)),
      stop_(std::move(stop)),
      address_(std::move(address)),
      write_page_(std::move(page)),
      thread_([this] { RunLoop(); }) {}

MetricsEndpoint::~MetricsEndpoint() {
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

void MetricsEndpoint::RunLoop() {
  while (true) {
    bool goes_on = true;
    const absl::Status done = CatchBadAlloc([&] {
      goes_on = Wait();
      if (goes_on) AdvanceAll();
      return absl::OkStatus();
    });
    if (!done.ok()) connections_.clear();  // their memory is what is left
    if (!goes_on) return;
  }
}

bool MetricsEndpoint::Wait() {
  // Not at once: whoever keeps this busy gets a small part of a core.
  pollfd stop{stop_.get(), POLLIN, 0};
  if (poll(&stop, 1, static_cast<int>(kPause.count())) > 0) return false;
  std::vector<pollfd> waiting = {stop, {listener_.get(), POLLIN, 0}};
  for (const HttpConnection& connection : connections_) {
    pollfd& added = waiting.emplace_back(pollfd{connection.fd(), POLLIN, 0});
    if (connection.is_writing()) added.events = POLLOUT;
  }
  poll(waiting.data(), waiting.size(),
       connections_.empty() ? -1 : kLookMilliseconds);
  return (waiting.front().revents & POLLIN) == 0;
}

void MetricsEndpoint::AdvanceAll() {
  Accept();
  const Time now = Clock::now();
  const PageWriter page = [this] { return Page(); };
  std::erase_if(connections_, [&](HttpConnection& connection) {
    return connection.deadline() <= now || !connection.Advance(page);
  });
}

void MetricsEndpoint::Accept() {
  for (std::size_t i = 0; i < kMaxConnections; ++i) {
    UniqueFd socket(accept4(listener_.get(), nullptr, nullptr,
                            SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket.valid()) return;
    if (connections_.size() == kMaxConnections) connections_.pop_front();
    connections_.emplace_back(std::move(socket), Clock::now() + kMaxTime);
  }
}

const std::string& MetricsEndpoint::Page() {
  const Time now = Clock::now();
  if (page_.empty() || now - page_written_ >= kPageAge) {
    page_ = write_page_();
    page_written_ = now;
  }
  return page_;
}

}  // namespace attention
