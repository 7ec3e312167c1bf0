// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "absl/status/status.h"

namespace attention {

/// How long requests may take, as far as that is known beforehand.
struct TimeLimits {
  std::chrono::milliseconds max_queue_time = std::chrono::seconds(30);
  std::chrono::milliseconds max_request_time = std::chrono::seconds(60);
};

/// What a request is predicted to take.
struct Forecast {
  std::chrono::nanoseconds wait{0};  ///< until its turn; 0: its turn is now
  std::chrono::nanoseconds compute{0};
  double error = 0;  ///< mean of |took / predicted - 1|, lately
};

/// Say whether a request is worth queuing: it waits no longer than it may, and
/// has its answer by its deadline, unless nothing else is there to be computed.
/// \param left until its deadline; the largest time for none.
/// \return DEADLINE_EXCEEDED; RESOURCE_EXHAUSTED, for which IsOverload holds
///   where it might be worth it later.
[[nodiscard]] absl::Status CheckTime(const TimeLimits& limits,
                                     const Forecast& forecast,
                                     std::chrono::nanoseconds left);

/// Whether the request was refused, or would be by an empty queue, for what it
/// alone is predicted to take.
[[nodiscard]] bool IsTooLong(const TimeLimits& limits, const Forecast& forecast,
                             std::chrono::nanoseconds left);

}  // namespace attention
