// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

namespace attention {

/// Calls a function again and again on a thread of its own.
class Ticker {
 public:
  /// \param period between the end of one call and the next.
  /// \param function must be quick; throws std::bad_alloc at most, and what it
  ///   has not done then is left to its next call.
  Ticker(std::chrono::milliseconds period, std::function<void()> function);
  /// Wait for a call under way; there are none after it.
  ~Ticker() = default;
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  void RunLoop(const std::stop_token& stop);

  const std::chrono::milliseconds period_;
  const std::function<void()> function_;
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;  ///< last: starts when the rest is there
};

}  // namespace attention
