// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace attention {

/// Counts the calls in flight, so that a draining server can wait for them.
/// Thread-safe. Must outlive its tokens.
class CallTracker {
 public:
  /// One call; counted while it lives.
  class Token {
   public:
    explicit Token(CallTracker& tracker);
    ~Token();
    Token(const Token&) = delete;
    Token& operator=(const Token&) = delete;

   private:
    CallTracker& tracker_;
  };

  /// Wait until there are none, at most so long.
  /// \return whether there are none.
  [[nodiscard]] bool WaitIdle(std::chrono::milliseconds at_most);

 private:
  std::mutex mutex_;
  std::condition_variable idle_;
  std::size_t num_calls_ = 0;
};

}  // namespace attention
