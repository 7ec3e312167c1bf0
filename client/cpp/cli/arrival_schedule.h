// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace attention {

/// Times at which an open loop sends: a Poisson process.
///
/// Gaps are independent and exponential, -ln(1 - u) / rate with u uniform in
/// [0, 1) from the 53 upper bits of std::mt19937_64: the same seed gives the
/// same schedule everywhere. Not thread-safe.
class ArrivalSchedule {
 public:
  /// \param rate mean number of arrivals per second, positive.
  ArrivalSchedule(double rate, std::uint64_t seed);

  /// Return the next arrival, counted from the start; never decreases.
  [[nodiscard]] std::chrono::nanoseconds Next();

 private:
  double rate_;
  std::mt19937_64 generator_;
  double seconds_ = 0.0;
};

}  // namespace attention
