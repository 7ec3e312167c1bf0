// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>

#include "absl/status/status.h"
#include "client/cpp/cli/latency_recorder.h"

namespace attention {

/// The time a load generator lives in; a test's need not be the real one.
/// Thread-safe.
class LoadClock {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  virtual ~LoadClock() = default;
  [[nodiscard]] virtual TimePoint Now() = 0;
  /// Returns before `time` only when stopped.
  virtual void SleepUntil(TimePoint time, const std::stop_token& stop) = 0;
};

/// The steady clock, woken within microseconds of the time asked for.
class SteadyLoadClock final : public LoadClock {
 public:
  [[nodiscard]] TimePoint Now() override;
  void SleepUntil(TimePoint time, const std::stop_token& stop) override;
};

/// How to load a server.
struct LoadPlan {
  /// Open loop: requests per second, sent at the times of an ArrivalSchedule
  /// whether or not earlier ones were answered. Unset: closed loop.
  std::optional<double> rate = std::nullopt;
  /// Closed loop: requests in flight; each answer sends the next request.
  std::size_t concurrency = 1;
  /// Open loop: requests due beyond so many in flight are counted, not sent.
  std::size_t max_in_flight = 1;
  std::uint64_t seed = 0;  ///< of the ArrivalSchedule
  /// Requests due during the warm-up are sent, but not reported.
  std::chrono::nanoseconds warmup{};
  std::chrono::nanoseconds duration{};
};

/// What a run found, over the requests due within its duration.
struct LoadReport {
  /// Of answered requests, from the time they were due. In a closed loop that
  /// is when they were sent.
  LatencyRecorder latency;
  /// Of answered requests, from the time they were sent.
  LatencyRecorder service;
  /// Open loop: how late the generator itself sent each request.
  LatencyRecorder lateness;
  /// Of failed requests, from the time they were sent.
  std::map<absl::StatusCode, LatencyRecorder> failed;
  std::map<absl::StatusCode, std::uint64_t> codes;
  std::uint64_t num_not_sent = 0;
  /// From the end of the warm-up to the last answer, at least the duration;
  /// when stopped, at least to then, or 0 during the warm-up.
  std::chrono::nanoseconds elapsed{};
  bool was_stopped = false;  ///< before the plan's time was over
  /// Sent, but cancelled when the run was stopped; not among the codes.
  std::uint64_t num_unanswered = 0;

  [[nodiscard]] std::uint64_t num_ok() const { return latency.count(); }
  [[nodiscard]] std::uint64_t num_failed() const;
};

/// Send one request. `done` is called once, from any thread or from within the
/// call, with the status and the time at which the answer was there.
using SendRequest = std::function<void(
    std::function<void(absl::StatusCode, LoadClock::TimePoint)> done)>;

/// Send requests as planned, wait for the last answer and report.
/// Returns when the plan's time is over, or `stop` was requested, and every
/// request was answered; each must therefore be bounded in time by its sender,
/// which cancels it when stopped.
[[nodiscard]] LoadReport RunLoad(const LoadPlan& plan, const SendRequest& send,
                                 LoadClock& clock,
                                 const std::stop_token& stop = {});

}  // namespace attention
