// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "core/serving/serving_observer.h"
#include "server/rpc/call_observer.h"

namespace attention::testing {

/// Keeps what it is told. Thread-safe.
class RecordingObserver final : public CallObserver, public ServingObserver {
 public:
  /// A call, or one request of a stream, that has left.
  struct Left {
    CallRecord call;
    absl::StatusCode code = absl::StatusCode::kOk;
  };

  void OnEntered(const CallRecord& call) override;
  void OnLeft(const CallRecord& call, const absl::Status& status) override;
  void OnSubmitted() override;
  void OnStarted(const ForwardTask::Times& times) override;
  void OnCompleted(const absl::Status& status,
                   const ForwardTask::Times& times) override;

  /// Call this when a request of a stream has entered, before it goes on. Set
  /// it before there is one.
  void OnRequestEntered(std::function<void()> callback) {
    on_request_entered_ = std::move(callback);
  }

  /// Wait until so many tasks have been started.
  void WaitUntilStarted(std::size_t num_tasks);

  [[nodiscard]] std::size_t num_entered() const;
  /// What has left, in this order.
  [[nodiscard]] std::vector<Left> left() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> on_request_entered_;
  std::size_t num_entered_ = 0;
  std::size_t num_started_ = 0;
  std::vector<Left> left_;
};

}  // namespace attention::testing
