// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/core/slot.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <vector>

namespace attention::bench {
namespace {

constexpr double kMicrosecondsPerSecond = 1e6;
// The part of a slot's time that is spent on warming up before it.
constexpr double kWarmUpShare = 0.2;

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  constexpr double kNanosecond = 1e-9;
  return static_cast<double>(now.tv_sec) +
         kNanosecond * static_cast<double>(now.tv_nsec);
}

}  // namespace

double NowSeconds() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

SlotResult MeasureSlot(const SlotLimits& limits,
                       const std::function<void()>& work) {
  const double warm = NowSeconds() + kWarmUpShare * limits.seconds;
  do {
    work();
  } while (NowSeconds() < warm);
  std::vector<double> times;
  const double cpu_start = CpuSeconds();
  const double start = NowSeconds();
  double now = start;
  while (now < start + limits.seconds ||
         static_cast<std::int64_t>(times.size()) < limits.min_calls) {
    const double before = now;
    work();
    now = NowSeconds();
    times.push_back(now - before);
    if (now > start + limits.max_seconds) break;
  }
  const double cpus_used = (CpuSeconds() - cpu_start) / (now - start);
  const auto middle =
      times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return {.median_us = *middle * kMicrosecondsPerSecond,
          .fastest_us = *std::min_element(times.begin(), times.end()) *
                        kMicrosecondsPerSecond,
          .num_calls = static_cast<std::int64_t>(times.size()),
          .cpus_used = cpus_used};
}

}  // namespace attention::bench
