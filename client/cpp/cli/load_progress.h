// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "client/cpp/cli/load_generator.h"

namespace attention {

/// What a load run has come to, told while it goes on. Thread-safe; counting
/// takes some nanoseconds.
class LoadProgress {
 public:
  /// \param start when the run, and with it the warm-up, begins.
  LoadProgress(const LoadPlan& plan, LoadClock::TimePoint start);

  /// Count a request answered at this time.
  void Count(absl::StatusCode code, LoadClock::TimePoint answered);

  /// Say in one line of at most 79 characters how far the run is.
  [[nodiscard]] std::string Line(LoadClock::TimePoint now) const;

 private:
  const LoadClock::TimePoint start_;
  const std::chrono::nanoseconds warmup_;
  const std::chrono::nanoseconds duration_;
  std::atomic<std::uint64_t> num_warmup_ = 0;
  // Answered after the warm-up.
  std::atomic<std::uint64_t> num_ok_ = 0;
  std::atomic<std::uint64_t> num_failed_ = 0;
};

}  // namespace attention
