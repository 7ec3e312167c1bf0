// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <stop_token>
#include <thread>

namespace attention {

/// Watches over a run while it lives: the first SIGINT or SIGTERM asks the run
/// to stop; the next one has its default effect and ends the process. Calls
/// `tick` about five times a second meanwhile, on a thread of its own.
///
/// A signal that was ignored before, as by nohup, still is. At most one watch
/// may live at a time.
class RunWatch {
 public:
  explicit RunWatch(std::function<void()> tick);
  ~RunWatch();
  RunWatch(const RunWatch&) = delete;
  RunWatch& operator=(const RunWatch&) = delete;

  /// Stopped by the first signal.
  [[nodiscard]] std::stop_token token() const { return stop_.get_token(); }

  /// The signal that came; 0 when none did.
  [[nodiscard]] int signal() const { return signal_; }

 private:
  void Watch(const std::stop_token& end);

  std::function<void()> tick_;
  std::atomic<int> signal_ = 0;
  std::stop_source stop_;
  std::jthread thread_;
};

}  // namespace attention
