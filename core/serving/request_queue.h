// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "core/serving/forward_task.h"

namespace attention {

/// Tasks waiting for the executor, first in first out.
///
/// Bounded by the AdmissionController, whose budget every task's caller has
/// passed; so a push never blocks. Thread-safe.
class RequestQueue {
 public:
  /// Append a task. Once closed, the task fails with UNAVAILABLE instead.
  void Push(std::unique_ptr<ForwardTask> task);

  /// Take the oldest task, waiting for one.
  /// \return null once the queue is closed.
  [[nodiscard]] std::unique_ptr<ForwardTask> Pop();

  /// Refuse tasks from now on; those waiting fail with UNAVAILABLE.
  void Close();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<ForwardTask>> tasks_;
  bool closed_ = false;
};

}  // namespace attention
