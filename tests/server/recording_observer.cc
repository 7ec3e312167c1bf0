// SPDX-License-Identifier: Apache-2.0
#include "tests/server/recording_observer.h"

namespace attention::testing {

void RecordingObserver::OnEntered(const CallRecord& call) {
  {
    const std::lock_guard lock(mutex_);
    ++num_entered_;
  }
  if (call.is_stream_request && on_request_entered_) on_request_entered_();
}

void RecordingObserver::OnLeft(const CallRecord& call,
                               const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  left_.push_back({.call = call, .code = status.code()});
}

void RecordingObserver::OnSubmitted() {}

void RecordingObserver::OnStarted(const ForwardTask::Times& /*times*/) {
  const std::lock_guard lock(mutex_);
  ++num_started_;
  changed_.notify_all();
}

void RecordingObserver::OnCompleted(const absl::Status& /*status*/,
                                    const ForwardTask::Times& /*times*/) {}

void RecordingObserver::WaitUntilStarted(std::size_t num_tasks) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return num_started_ >= num_tasks; });
}

std::size_t RecordingObserver::num_entered() const {
  const std::lock_guard lock(mutex_);
  return num_entered_;
}

std::vector<RecordingObserver::Left> RecordingObserver::left() const {
  const std::lock_guard lock(mutex_);
  return left_;
}

}  // namespace attention::testing
