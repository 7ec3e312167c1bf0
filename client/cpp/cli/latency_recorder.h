// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace attention {

/// Keeps every duration it is given, so that percentiles are exact.
///
/// Cost: 8 bytes per duration. Not thread-safe.
class LatencyRecorder {
 public:
  void Record(std::chrono::nanoseconds latency);

  [[nodiscard]] std::size_t count() const { return latencies_.size(); }
  [[nodiscard]] std::chrono::nanoseconds mean() const;  ///< 0 when empty
  [[nodiscard]] std::chrono::nanoseconds max() const;   ///< 0 when empty

  /// Return the nearest-rank percentile: the smallest recorded value such that
  /// at least `per_mille` / 1000 of all values are not greater; 0 when empty.
  /// \param per_mille in [1, 1000]; 999 is p99.9.
  /// Source: https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method
  [[nodiscard]] std::chrono::nanoseconds Percentile(
      std::uint64_t per_mille) const;

 private:
  // Sorted on demand; recording appends.
  mutable std::vector<std::chrono::nanoseconds> latencies_;
  mutable bool sorted_ = true;
};

}  // namespace attention
