// SPDX-License-Identifier: Apache-2.0
#include "core/serving/time_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/serving/admission_controller.h"

namespace attention {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr TimeLimits kLimits{.max_queue_time = seconds(2),
                             .max_request_time = seconds(5)};
constexpr nanoseconds kNoDeadline = nanoseconds::max();

TEST(TimeLimitsTest, WhatIsInTimeIsTaken) {
  EXPECT_TRUE(CheckTime(kLimits, {}, kNoDeadline).ok());
  EXPECT_TRUE(CheckTime(kLimits,
                        {.wait = seconds(2), .compute = seconds(5), .error = 0},
                        kNoDeadline)
                  .ok());
  EXPECT_TRUE(CheckTime(kLimits,
                        {.wait = milliseconds(50), .compute = milliseconds(30)},
                        milliseconds(100))
                  .ok());
}

TEST(TimeLimitsTest, ALongerWaitIsRefusedForNow) {
  const absl::Status status =
      CheckTime(kLimits, {.wait = milliseconds(2500)}, kNoDeadline);

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "the server is overloaded: the request is predicted to wait 2500 "
            "ms, expected at most 2000 (--max-queue-time)");
  EXPECT_EQ(RetryDelay(status), milliseconds(500));
}

TEST(TimeLimitsTest, WhatWouldMissItsDeadlineIsRefusedForNow) {
  const Forecast forecast{.wait = milliseconds(300),
                          .compute = milliseconds(100)};
  EXPECT_TRUE(CheckTime(kLimits, forecast, milliseconds(441)).ok());
  const absl::Status status = CheckTime(kLimits, forecast, milliseconds(420));

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "the server is overloaded: the answer is predicted in 400 ms, the "
            "deadline is in 420 ms");
  EXPECT_EQ(RetryDelay(status), milliseconds(20));
}

TEST(TimeLimitsTest, AnUncertainPredictionNeedsMoreTime) {
  const Forecast sure{.wait = milliseconds(300), .error = 0.01};
  const Forecast unsure{.wait = milliseconds(300), .error = 0.25};
  const Forecast wild{.wait = milliseconds(300), .error = 4};

  EXPECT_TRUE(CheckTime(kLimits, sure, milliseconds(331)).ok());
  EXPECT_FALSE(CheckTime(kLimits, unsure, milliseconds(449)).ok());
  EXPECT_TRUE(CheckTime(kLimits, unsure, milliseconds(451)).ok());
  EXPECT_TRUE(CheckTime(kLimits, wild, milliseconds(601)).ok());
}

TEST(TimeLimitsTest, WithNothingElseToComputeADeadlineIsTried) {
  EXPECT_TRUE(
      CheckTime(kLimits, {.compute = milliseconds(300)}, milliseconds(1)).ok());
}

TEST(TimeLimitsTest, ADeadlineThatHasPassedIsSaidSo) {
  EXPECT_EQ(CheckTime(kLimits, {}, nanoseconds(0)).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(CheckTime(kLimits, {.wait = seconds(9)}, nanoseconds(-1)).code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(TimeLimitsTest, ALongerComputationIsRefusedForGood) {
  const absl::Status status =
      CheckTime(kLimits, {.compute = seconds(6)}, kNoDeadline);

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "the request is predicted to take 6000 ms to compute, expected at "
            "most 5000 (--max-request-time)");
  EXPECT_FALSE(IsOverload(status));
}

TEST(TimeLimitsTest, TellsWhatIsTooLongByItself) {
  EXPECT_TRUE(IsTooLong(kLimits, {.compute = seconds(6)}, kNoDeadline));
  EXPECT_TRUE(IsTooLong(kLimits, {.compute = seconds(1)}, milliseconds(900)));
  EXPECT_FALSE(IsTooLong(kLimits, {.wait = seconds(9), .compute = seconds(1)},
                         seconds(2)));
}

}  // namespace
}  // namespace attention
