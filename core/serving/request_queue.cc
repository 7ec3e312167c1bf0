// SPDX-License-Identifier: Apache-2.0
#include "core/serving/request_queue.h"

#include <utility>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

using Clock = ForwardTask::Clock;
using std::chrono::nanoseconds;

absl::Status Closed() {
  return absl::UnavailableError("the server is shutting down");
}

absl::Status Cancelled() {
  return absl::CancelledError("the client cancelled the request");
}

}  // namespace

// Tasks complete outside the lock everywhere: their callers are free to push.

std::optional<RequestQueue::Turn> RequestQueue::PushOrBegin(
    std::unique_ptr<ForwardTask> task, nanoseconds at_most) {
  absl::StatusOr<std::optional<Turn>> turn =
      CatchBadAlloc([&] { return TryPush(task, at_most); });
  if (turn.ok()) return *std::move(turn);
  task->Fail(turn.status());
  return std::nullopt;
}

absl::StatusOr<std::optional<RequestQueue::Turn>> RequestQueue::TryPush(
    std::unique_ptr<ForwardTask>& task, nanoseconds at_most) {
  const std::lock_guard lock(mutex_);
  if (closed_) return Closed();
  // Under the lock: a caller that cancels later finds its task by
  // DropCancelled, one that did so earlier is seen here.
  const ForwardTask::Caller& caller = task->caller();
  if (caller.IsCancelled()) return Cancelled();
  ATTENTION_ASSIGN_OR_RETURN(const Forecast forecast, Foresee(*task));
  // A module of which nothing is known may take long.
  const bool may_begin = lines_.empty() && forecast.compute <= at_most &&
                         costs_.Of(*task).has_learned() &&
                         !lines_.LineOf(*task).is_large;
  lines_.Append(task);
  if (may_begin) {
    std::optional<Turn> turn = lines_.Take(Clock::now());
    pusher_computes_ = turn.has_value();
    if (turn) return turn;
  }
  // Else its turn's end is waited for.
  if (!pusher_computes_) changed_.notify_one();
  return std::nullopt;
}

absl::StatusOr<Forecast> RequestQueue::Foresee(const ForwardTask& task) {
  CostModel& cost = costs_.Of(task);
  const Clock::time_point now = Clock::now();
  const Forecast forecast{.wait = lines_.ExpectedWait(lines_.LineOf(task), now),
                          .compute = cost.Predict(task.size()),
                          .error = cost.error()};
  const auto left = task.deadline() == Clock::time_point::max()
                        ? std::chrono::nanoseconds::max()
                        : task.deadline() - now;
  const absl::Status status = CheckTime(time_, forecast, left);
  if (status.ok()) return forecast;
  if (left > nanoseconds(0) && IsTooLong(time_, forecast, left)) {
    cost.Doubt(task.size(), now);
  }
  return status;
}

std::optional<RequestQueue::Turn> RequestQueue::Take() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    if (pusher_computes_) {
      changed_.wait(lock);
      continue;
    }
    if (std::optional<Turn> turn = lines_.Take(Clock::now())) return turn;
    const Clock::time_point ready = lines_.NextReady();
    if (ready == Clock::time_point::max()) {
      changed_.wait(lock);
    } else {
      changed_.wait_until(lock, ready);
    }
  }
  return std::nullopt;
}

std::optional<RequestQueue::Turn> RequestQueue::TakeSmall(
    std::chrono::nanoseconds served) {
  const std::lock_guard lock(mutex_);
  return lines_.TakeSmall(Clock::now(), served);
}

bool RequestQueue::HasSmall(std::chrono::nanoseconds served) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  return lock && lines_.HasSmall(served);
}

void RequestQueue::Return(const TaskLines::Key& line,
                          std::chrono::nanoseconds took,
                          const std::optional<ComputedWork>& computed) {
  const std::lock_guard lock(mutex_);
  lines_.Return(line, took);
  Learn(line, took, computed);
  // Under the lock: Close waits for it.
  if (std::exchange(pusher_computes_, false)) changed_.notify_all();
}

void RequestQueue::Learn(const TaskLines::Key& line, nanoseconds took,
                         const std::optional<ComputedWork>& computed) {
  CostModel* const cost = costs_.Find(line.implementation);
  if (!computed || cost == nullptr) return;
  // What was given up on the way would have taken that long at least.
  if (computed->is_whole || took > cost->Predict(computed->size)) {
    cost->Learn(computed->size, took);
  }
}

RequestQueue::Outlook RequestQueue::LookAhead() const {
  const std::lock_guard lock(mutex_);
  return {.predicted_time = lines_.PredictedTime(Clock::now()),
          .prediction_error = costs_.error()};
}

void RequestQueue::DropCancelled(const ForwardTask::Caller& caller) {
  std::unique_ptr<ForwardTask> task;
  {
    const std::lock_guard lock(mutex_);
    task = lines_.Remove(caller);
  }
  if (task != nullptr) task->Fail(Cancelled());
}

void RequestQueue::Close() {
  TaskLines::Tasks refused;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    refused = lines_.RemoveAll();
  }
  changed_.notify_all();
  for (const std::unique_ptr<ForwardTask>& task : refused) {
    task->Fail(Closed());
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !pusher_computes_; });
}

}  // namespace attention
