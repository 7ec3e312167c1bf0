// SPDX-License-Identifier: Apache-2.0
#include "core/serving/forward_task.h"

#include <exception>
#include <new>
#include <stdexcept>
#include <utility>

#include "core/serving/serving_observer.h"
#include "core/tensor/status_macros.h"

namespace attention {

ForwardTask::ForwardTask(Work work, std::shared_ptr<Caller> caller)
    : work_(std::move(work)), caller_(std::move(caller)) {}

ForwardTask::~ForwardTask() {
  Complete(absl::CancelledError("the server dropped the request"));
}

void ForwardTask::Submit(ServingObserver& observer) {
  observer_ = &observer;
  observer_->OnSubmitted();
}

void ForwardTask::Run(ComputePool& pool) {
  const Clock::time_point start = Clock::now();
  times_.queue = start - created_;
  absl::Status status = CheckWanted(start);
  if (status.ok()) {
    times_.batch_size = 1;
    if (observer_ != nullptr) observer_->OnStarted(times_);
    status = Compute(pool);
    times_.compute = Clock::now() - start;
  }
  Complete(status);
}

void ForwardTask::Fail(const absl::Status& status) { Complete(status); }

absl::Status ForwardTask::CheckWanted(Clock::time_point now) const {
  if (caller_->IsCancelled()) {
    return absl::CancelledError("the client cancelled the request");
  }
  if (now >= work_.deadline) {
    return absl::DeadlineExceededError(
        "the deadline passed before the answer was computed");
  }
  return absl::OkStatus();
}

absl::Status ForwardTask::Compute(ComputePool& pool) {
  try {
    RequestPlan& request = *work_.request;
    request.Bind(caller_->AllocateOutputs(request.shapes, request.dtype),
                 [this] { return !CheckWanted(Clock::now()).ok(); });
    const absl::Status status = work_.module->implementation(request.dtype)
                                    .Forward(request.sequences, pool);
    if (!status.ok() || !request.was_stopped()) return status;
    const absl::Status why = CheckWanted(Clock::now());
    return why.ok() ? absl::CancelledError("the request was stopped") : why;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("memory is exhausted");
  } catch (const std::length_error&) {
    return absl::ResourceExhaustedError("memory is exhausted");
  } catch (const std::exception&) {
    return absl::InternalError("the forward pass failed");
  }
}

void ForwardTask::Complete(const absl::Status& status) {
  if (caller_ == nullptr) return;
  // Released first, so that an unloaded module is gone when its last request is
  // answered.
  work_ = Work();
  if (observer_ != nullptr) observer_->OnCompleted(status, times_);
  std::exchange(caller_, nullptr)->Complete(status, times_);
}

}  // namespace attention
