// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/serving/cost_model.h"
#include "core/serving/forward_batch.h"
#include "core/serving/forward_task.h"
#include "core/serving/task_lines.h"
#include "core/serving/time_limits.h"

namespace attention {

/// Tasks waiting for the executor, who takes them in turns (TaskLines).
///
/// Bounded in bytes by the AdmissionController, whose budget every task's
/// caller has passed, and in time by what the tasks are predicted to take
/// (CostModel); so a push never blocks. A caller has one task in it at a time.
/// Thread-safe.
class RequestQueue {
 public:
  using Turn = TaskLines::Turn;

  /// What waits, as far as it can be foreseen.
  struct Outlook {
    std::chrono::nanoseconds predicted_time{0};  ///< to compute all of it
    double prediction_error = 0;  ///< mean of |took / predicted - 1|, lately
  };

  explicit RequestQueue(const BatchLimits& batch, const TimeLimits& time = {})
      : time_(time), lines_(batch, costs_) {}

  /// Append a task. Once closed, the task fails with UNAVAILABLE instead; when
  /// its caller has cancelled, with CANCELLED; when it is predicted to take
  /// longer than the limits allow, or to miss its deadline behind others, or
  /// when there is no memory for its place, with RESOURCE_EXHAUSTED.
  void Push(std::unique_ptr<ForwardTask> task) {
    (void)PushOrBegin(std::move(task), std::chrono::nanoseconds(0));
  }
  /// The same, unless nothing else is here or computed and the task is
  /// predicted to take no longer than `at_most`: then begin its turn, which is
  /// for the caller to compute. Nobody else's begins until it is returned.
  [[nodiscard]] std::optional<Turn> PushOrBegin(
      std::unique_ptr<ForwardTask> task, std::chrono::nanoseconds at_most);

  /// Begin the next turn, waiting for one.
  /// \return none once the queue is closed.
  [[nodiscard]] std::optional<Turn> Take();
  /// Begin one of small requests that come before a line that has been computed
  /// for `served`, if there are any.
  [[nodiscard]] std::optional<Turn> TakeSmall(std::chrono::nanoseconds served);
  /// Whether there are any. Does not wait for others who use the queue: false
  /// then.
  [[nodiscard]] bool HasSmall(std::chrono::nanoseconds served);
  /// End a turn, which took so long, and learn from what was computed in it.
  void Return(const TaskLines::Key& line, std::chrono::nanoseconds took,
              const std::optional<ComputedWork>& computed);

  [[nodiscard]] Outlook LookAhead() const;

  /// Complete the task of a caller that has cancelled (IsCancelled holds), if
  /// it is here: what it holds is not kept until its turn comes. O(1).
  void DropCancelled(const ForwardTask::Caller& caller);

  /// Refuse tasks from now on; those waiting fail with UNAVAILABLE. Wait for
  /// the end of a turn that PushOrBegin has begun.
  void Close();

 private:
  // Append `task` and take it, or say why not. \return its turn, if it begins.
  [[nodiscard]] absl::StatusOr<std::optional<Turn>> TryPush(
      std::unique_ptr<ForwardTask>& task, std::chrono::nanoseconds at_most);
  // What it is predicted to take, or why it is refused.
  [[nodiscard]] absl::StatusOr<Forecast> Foresee(const ForwardTask& task);
  void Learn(const TaskLines::Key& line, std::chrono::nanoseconds took,
             const std::optional<ComputedWork>& computed);

  const TimeLimits time_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  CostModels costs_;
  TaskLines lines_;
  bool pusher_computes_ = false;  // a turn begun by PushOrBegin
  bool closed_ = false;
};

}  // namespace attention
