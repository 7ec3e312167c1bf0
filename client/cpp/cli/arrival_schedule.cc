// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/arrival_schedule.h"

#include <cassert>
#include <cmath>

namespace attention {

ArrivalSchedule::ArrivalSchedule(double rate, std::uint64_t seed)
    : rate_(rate), generator_(seed) {
  assert(rate > 0.0);
}

std::chrono::nanoseconds ArrivalSchedule::Next() {
  // Not std::exponential_distribution: its algorithm is the library's choice.
  const double uniform =
      std::ldexp(static_cast<double>(generator_() >> 11U), -53);
  seconds_ += -std::log1p(-uniform) / rate_;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(seconds_));
}

}  // namespace attention
