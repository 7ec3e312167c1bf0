// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "absl/status/status.h"
#include "core/serving/forward_task.h"

namespace attention {

/// Tasks waiting for the executor, first in first out.
///
/// Bounded by the AdmissionController, whose budget every task's caller has
/// passed; so a push never blocks. A caller has one task in it at a time.
/// Thread-safe.
class RequestQueue {
 public:
  /// Append a task. Once closed, the task fails with UNAVAILABLE instead; when
  /// its caller has cancelled, with CANCELLED; when there is no memory for its
  /// place, with RESOURCE_EXHAUSTED.
  void Push(std::unique_ptr<ForwardTask> task);

  /// Take the oldest task, waiting for one.
  /// \return null once the queue is closed.
  [[nodiscard]] std::unique_ptr<ForwardTask> Pop();

  /// Complete the task of a caller that has cancelled (IsCancelled holds), if
  /// it is here: what it holds is not kept until its turn comes. O(1).
  void DropCancelled(const ForwardTask::Caller& caller);

  /// Refuse tasks from now on; those waiting fail with UNAVAILABLE.
  void Close();

 private:
  using Tasks = std::list<std::unique_ptr<ForwardTask>>;

  // Append `task` and take it, or say why not.
  [[nodiscard]] absl::Status TryPush(std::unique_ptr<ForwardTask>& task);

  std::mutex mutex_;
  std::condition_variable changed_;
  Tasks tasks_;
  /// Where each caller's task stands in tasks_.
  std::unordered_map<const ForwardTask::Caller*, Tasks::iterator> places_;
  bool closed_ = false;
};

}  // namespace attention
