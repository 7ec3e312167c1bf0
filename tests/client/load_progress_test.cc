// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/load_progress.h"

#include <gtest/gtest.h>

namespace attention {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr LoadClock::TimePoint kStart(seconds(100));

LoadPlan TwoAndTenSeconds() {
  return {.warmup = seconds(2), .duration = seconds(10)};
}

TEST(LoadProgressTest, TellsHowFarTheWarmupIs) {
  LoadProgress progress(TwoAndTenSeconds(), kStart);
  progress.Count(absl::StatusCode::kOk, kStart + seconds(1));
  progress.Count(absl::StatusCode::kUnavailable, kStart + seconds(1));

  EXPECT_EQ(progress.Line(kStart + milliseconds(1240)),
            "warming up 1.2 of 2 s: 2 answered");
}

TEST(LoadProgressTest, TellsWhatIsMeasured) {
  LoadProgress progress(TwoAndTenSeconds(), kStart);
  progress.Count(absl::StatusCode::kOk, kStart + seconds(1));
  for (int i = 0; i < 6; ++i) {
    progress.Count(absl::StatusCode::kOk, kStart + seconds(3));
  }
  progress.Count(absl::StatusCode::kUnavailable, kStart + seconds(3));

  EXPECT_EQ(progress.Line(kStart + seconds(6)),
            "measuring 4.0 of 10 s: 6 answered, 1.5/s, 1 failed");
}

TEST(LoadProgressTest, IsNeverBeyondItsEnd) {
  const LoadProgress progress(TwoAndTenSeconds(), kStart);

  EXPECT_EQ(progress.Line(kStart + seconds(2)),
            "measuring 0.0 of 10 s: 0 answered, 0.0/s, 0 failed");
  EXPECT_EQ(progress.Line(kStart + seconds(50)),
            "measuring 10.0 of 10 s: 0 answered, 0.0/s, 0 failed");
}

}  // namespace
}  // namespace attention
