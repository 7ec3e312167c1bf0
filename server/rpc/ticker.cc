// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/ticker.h"

#include <utility>

#include "core/tensor/catch_bad_alloc.h"

namespace attention {

Ticker::Ticker(std::chrono::milliseconds period, std::function<void()> function)
    : period_(period),
      function_(std::move(function)),
      thread_([this](const std::stop_token& stop) { RunLoop(stop); }) {}

void Ticker::RunLoop(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    // Ends early only when a stop is requested.
    stopped_.wait_for(lock, stop, period_, [] { return false; });
    if (stop.stop_requested()) return;
    const absl::Status called = CatchBadAlloc([this] {
      function_();
      return absl::OkStatus();
    });
    (void)called;  // its next call makes up for what it has not done
  }
}

}  // namespace attention
