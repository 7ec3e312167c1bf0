// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace attention::bench {

/// Current time of a clock that never goes back, in seconds.
[[nodiscard]] double NowSeconds();

/// How long to measure.
struct SlotLimits {
  double seconds = 0.3;        ///< measure at least this long,
  std::int64_t min_calls = 3;  ///< and this often,
  double max_seconds = 3.0;    ///< but end after the first call beyond this
};

/// What one slot measured.
struct SlotResult {
  double median_us = 0.0;
  double fastest_us = 0.0;
  std::int64_t num_calls = 0;
  /// CPU time of the process per wall time: at most its number of threads.
  double cpus_used = 0.0;
};

/// Call `work` until it is warm, then measure each call. worker_loop.py does
/// the same for the peers.
[[nodiscard]] SlotResult MeasureSlot(const SlotLimits& limits,
                                     const std::function<void()>& work);

}  // namespace attention::bench
