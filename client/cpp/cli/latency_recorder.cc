// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/latency_recorder.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace attention {

void LatencyRecorder::Record(std::chrono::nanoseconds latency) {
  latencies_.push_back(latency);
  sorted_ = false;
}

std::chrono::nanoseconds LatencyRecorder::mean() const {
  if (latencies_.empty()) return {};
  const auto sum = std::accumulate(latencies_.begin(), latencies_.end(),
                                   std::chrono::nanoseconds(0));
  return sum / static_cast<std::int64_t>(latencies_.size());
}

std::chrono::nanoseconds LatencyRecorder::max() const {
  if (latencies_.empty()) return {};
  return *std::ranges::max_element(latencies_);
}

std::chrono::nanoseconds LatencyRecorder::Percentile(
    std::uint64_t per_mille) const {
  assert(per_mille >= 1 && per_mille <= 1000);
  if (latencies_.empty()) return {};
  if (!sorted_) {
    std::ranges::sort(latencies_);
    sorted_ = true;
  }
  // Integers: 0.999 * n rounded up is one too many for some n.
  const std::uint64_t rank = (latencies_.size() * per_mille + 999) / 1000;
  return latencies_[rank - 1];
}

}  // namespace attention
