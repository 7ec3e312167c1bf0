// SPDX-License-Identifier: Apache-2.0
#include "core/serving/forward_task.h"

#include <algorithm>
#include <utility>

#include "core/serving/serving_observer.h"
#include "core/tensor/catch_bad_alloc.h"

namespace attention {
namespace {

// Beyond any limit, and sums of as many as fit in memory do not overflow.
constexpr std::int64_t kMostWork = std::int64_t{1} << 40U;

// A sequence counts as a token at least: an empty one takes time, too. Neither
// sum overflows: all lengths together are below 2^31, as messages are.
ForwardTask::Size SizeOf(std::span<const Sequence> sequences) {
  ForwardTask::Size size;
  for (const Sequence& sequence : sequences) {
    size.tokens +=
        std::max<std::int64_t>({1, sequence.query_length, sequence.key_length});
    size.pairs += sequence.query_length * sequence.key_length;
  }
  return {std::min(size.tokens, kMostWork), std::min(size.pairs, kMostWork)};
}

}  // namespace

ForwardTask::ForwardTask(Work work, std::shared_ptr<Caller> caller)
    : work_(std::move(work)),
      caller_(std::move(caller)),
      size_(SizeOf(work_.request->sequences)) {}

ForwardTask::~ForwardTask() {
  Complete(absl::CancelledError("the server dropped the request"));
}

void ForwardTask::Submit(ServingObserver& observer) {
  observer_ = &observer;
  observer_->OnSubmitted();
}

bool ForwardTask::Begin(Clock::time_point now) {
  begun_ = now;
  times_.queue = now - created_;
  absl::Status status = CheckWanted(now);
  if (status.ok()) {
    status = Bind();
    if (status.ok()) return true;
    Start(/*batch_size=*/1);
    times_.compute = Clock::now() - begun_;
  }
  Complete(status);
  return false;
}

void ForwardTask::Start(std::uint32_t batch_size) {
  const bool is_first = times_.batch_size == 0;
  times_.batch_size = batch_size;
  if (is_first && observer_ != nullptr) observer_->OnStarted(times_);
}

bool ForwardTask::Finish(const absl::Status& status, Clock::time_point now) {
  times_.compute = now - begun_;
  if (status.ok() && work_.request->was_stopped()) {
    const absl::Status why = CheckWanted(now);
    Complete(why.ok() ? absl::CancelledError("the request was stopped") : why);
    return false;
  }
  Complete(status);
  return status.ok();
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

absl::Status ForwardTask::Bind() {
  return CatchBadAlloc([this] {
    RequestPlan& request = *work_.request;
    request.Bind(caller_->AllocateOutputs(request.shapes, request.dtype),
                 [this] { return !CheckWanted(Clock::now()).ok(); });
    return absl::OkStatus();
  });
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
