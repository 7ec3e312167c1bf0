// SPDX-License-Identifier: Apache-2.0
#include "core/serving/time_limits.h"

#include <algorithm>
#include <string>

#include "core/serving/admission_controller.h"
#include "core/tensor/format_text.h"

namespace attention {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// A request that is predicted to be done right at its deadline is late half the
// time.
constexpr double kLeastMargin = 0.1;
constexpr double kMostMargin = 1;

// What it may take by the prediction, its usual error allowed for.
nanoseconds WithMargin(nanoseconds time, double error) {
  const double margin = std::clamp(2 * error, kLeastMargin, kMostMargin);
  return std::chrono::duration_cast<nanoseconds>(
      std::chrono::duration<double, std::nano>(time) * (1 + margin));
}

double Milliseconds(nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

absl::Status TooLate(nanoseconds by, const std::string& text) {
  return OverloadError("the server is overloaded: " + text,
                       std::chrono::ceil<milliseconds>(by));
}

}  // namespace

absl::Status CheckTime(const TimeLimits& limits, const Forecast& forecast,
                       nanoseconds left) {
  if (left <= nanoseconds(0)) {
    return absl::DeadlineExceededError(
        "the deadline passed before the request was queued");
  }
  if (forecast.compute > limits.max_request_time) {
    return absl::ResourceExhaustedError(FormatText(
        "the request is predicted to take {:.0f} ms to compute, expected at "
        "most {} (--max-request-time)",
        Milliseconds(forecast.compute), limits.max_request_time.count()));
  }
  if (forecast.wait <= nanoseconds(0)) return absl::OkStatus();
  if (forecast.wait > limits.max_queue_time) {
    return TooLate(
        forecast.wait - limits.max_queue_time,
        FormatText("the request is predicted to wait {:.0f} ms, expected at "
                   "most {} (--max-queue-time)",
                   Milliseconds(forecast.wait), limits.max_queue_time.count()));
  }
  const nanoseconds whole = forecast.wait + forecast.compute;
  if (WithMargin(whole, forecast.error) > left) {
    return TooLate(WithMargin(whole, forecast.error) - left,
                   FormatText("the answer is predicted in {:.0f} ms, the "
                              "deadline is in {:.0f} ms",
                              Milliseconds(whole), Milliseconds(left)));
  }
  return absl::OkStatus();
}

bool IsTooLong(const TimeLimits& limits, const Forecast& forecast,
               nanoseconds left) {
  return forecast.compute > limits.max_request_time ||
         WithMargin(forecast.compute, forecast.error) > left;
}

}  // namespace attention
