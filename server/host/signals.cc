// SPDX-License-Identifier: Apache-2.0
#include "server/host/signals.h"

#include <poll.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdlib>

#include "server/host/options.h"

namespace attention {
namespace {

// What a shell reports for a process that died of the signal.
constexpr int kExitSignalBase = 128;
constexpr int kForever = -1;

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

StopSignals::StopSignals(std::chrono::seconds patience) : patience_(patience) {
  const sigset_t set = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
  closing_ = UniqueFd(eventfd(0, EFD_CLOEXEC));
  thread_ = std::jthread([this] { Watch(); });
}

StopSignals::~StopSignals() {
  const std::uint64_t one = 1;
  static_cast<void>(!write(closing_.get(), &one, sizeof(one)));
}

int StopSignals::NextSignal(int timeout_milliseconds) {
  std::array<pollfd, 2> files = {
      {{signals_.get(), POLLIN, 0}, {closing_.get(), POLLIN, 0}}};
  if (poll(files.data(), files.size(), timeout_milliseconds) <= 0) return 0;
  if (files[1].revents != 0) return 0;
  signalfd_siginfo info{};
  if (read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return 0;
  return static_cast<int>(info.ssi_signo);
}

void StopSignals::Watch() {
  const int first = NextSignal(kForever);
  if (first == 0) return;
  spdlog::info("received {}", first == SIGTERM ? "SIGTERM" : "SIGINT");
  stop_.request_stop();
  arrived_.release();
  const auto patience =
      std::chrono::duration_cast<std::chrono::milliseconds>(patience_);
  const int second = NextSignal(static_cast<int>(patience.count()));
  pollfd closing{closing_.get(), POLLIN, 0};
  if (poll(&closing, 1, 0) > 0) return;
  if (second != 0) std::_Exit(kExitSignalBase + second);
  spdlog::error("stopping takes too long, exiting at once");
  std::_Exit(kExitRuntimeError);
}

}  // namespace attention
