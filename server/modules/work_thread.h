// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace attention {

/// A thread for work that takes long, such as loading modules, one piece after
/// the other. Thread-safe.
class WorkThread {
 public:
  /// \param max_queued pieces that may wait.
  explicit WorkThread(std::size_t max_queued);
  /// Do what is queued, then stop.
  ~WorkThread();
  WorkThread(const WorkThread&) = delete;
  WorkThread& operator=(const WorkThread&) = delete;

  /// Queue a piece of work; it must not throw. Never blocks.
  /// \return false, without taking it, when too many wait.
  [[nodiscard]] bool TryPost(std::function<void()> work);

 private:
  void RunLoop();

  const std::size_t max_queued_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::jthread thread_;  ///< last: starts when the rest is there
};

}  // namespace attention
