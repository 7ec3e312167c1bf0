// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/run_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

namespace attention {
namespace {

// What a handler may touch. The event is there for good: a handler may still
// be running when its watch ends.
std::atomic<int> received_signal = 0;

int Event() {
  static const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return event;
}

void Wake() {
  const std::uint64_t one = 1;
  static_cast<void>(write(Event(), &one, sizeof(one)) < 0);
}

void Drain() {
  std::uint64_t count = 0;
  static_cast<void>(read(Event(), &count, sizeof(count)) < 0);
}

void Handle(int signal) {
  const int error = errno;
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  received_signal = signal;
  Wake();
  errno = error;
}

void Install(int signal) {
  struct sigaction old{};
  sigaction(signal, nullptr, &old);
  if (old.sa_handler == SIG_DFL) std::signal(signal, Handle);
}

void Remove(int signal) {
  struct sigaction old{};
  sigaction(signal, nullptr, &old);
  if (old.sa_handler == Handle) std::signal(signal, SIG_DFL);
}

}  // namespace

RunWatch::RunWatch(std::function<void()> tick) : tick_(std::move(tick)) {
  received_signal = 0;
  Drain();
  Install(SIGINT);
  Install(SIGTERM);
  thread_ = std::jthread([this](const std::stop_token& end) { Watch(end); });
}

RunWatch::~RunWatch() {
  Remove(SIGINT);
  Remove(SIGTERM);
  thread_.request_stop();
  Wake();
}

void RunWatch::Watch(const std::stop_token& end) {
  constexpr int kTickMilliseconds = 200;
  while (!end.stop_requested()) {
    pollfd event{Event(), POLLIN, 0};
    if (poll(&event, 1, kTickMilliseconds) == 0) tick_();
    Drain();
    if (received_signal == 0) continue;
    signal_ = received_signal.load();
    stop_.request_stop();
  }
}

}  // namespace attention
