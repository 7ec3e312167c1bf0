// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <mutex>
#include <optional>

#include "core/serving/serving_observer.h"
#include "server/net/line_limit.h"
#include "server/rpc/call_observer.h"
#include "server/rpc/failure_tally.h"

namespace attention {

/// Writes to the log: at debug level a line for each call that has left, each
/// request of a stream and each task that was computed; at info level, if
/// asked, one for each request that was slow or has failed, as far as LineLimit
/// goes; and at warning level how many have failed. A stream is no request, but
/// what comes on it is. Thread-safe.
class LogObserver final : public CallObserver, public ServingObserver {
 public:
  using Time = CallRecord::Clock::time_point;

  /// \param slow a request that takes so long is slow; none is if not set.
  explicit LogObserver(
      std::optional<std::chrono::milliseconds> slow = std::nullopt)
      : slow_(slow) {}

  void OnEntered(const CallRecord& /*call*/) override {}
  void OnLeft(const CallRecord& call, const absl::Status& status) override;

  void OnSubmitted() override {}
  void OnStarted(const ForwardTask::Times& /*times*/) override {}
  void OnCompleted(const absl::Status& status,
                   const ForwardTask::Times& times) override;

  /// Write what is to be told of many requests together, if it is time. To be
  /// called about once a second.
  void Tick(Time now);

  /// Write what is left to be told.
  void Flush() { Tick(Time::max()); }

 private:
  void LogSlowOrFailed(const CallRecord& call, const absl::Status& status);

  const std::optional<std::chrono::milliseconds> slow_;
  std::mutex mutex_;
  LineLimit limit_{10};    // guarded by mutex_
  FailureTally failures_;  // guarded by mutex_
};

}  // namespace attention
