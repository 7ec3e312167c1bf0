// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/arrival_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace attention {
namespace {

TEST(ArrivalScheduleTest, SameSeedGivesSameSchedule) {
  ArrivalSchedule a(/*rate=*/100.0, /*seed=*/7);
  ArrivalSchedule b(/*rate=*/100.0, /*seed=*/7);

  for (int i = 0; i < 1000; ++i) EXPECT_EQ(a.Next(), b.Next());
}

TEST(ArrivalScheduleTest, OtherSeedGivesOtherSchedule) {
  ArrivalSchedule a(/*rate=*/100.0, /*seed=*/7);
  ArrivalSchedule b(/*rate=*/100.0, /*seed=*/8);

  EXPECT_NE(a.Next(), b.Next());
}

TEST(ArrivalScheduleTest, FirstArrivalsAreThoseOfTheDocumentedFormula) {
  // mt19937_64's first output for its default seed 5489, from the C++ standard
  // library's documentation of the algorithm: 14514284786278117030.
  ArrivalSchedule schedule(/*rate=*/1.0, /*seed=*/5489);
  const double uniform =
      static_cast<double>(14514284786278117030ULL >> 11U) * 0x1p-53;

  EXPECT_NEAR(static_cast<double>(schedule.Next().count()),
              -std::log(1.0 - uniform) * 1e9, 2.0);
}

TEST(ArrivalScheduleTest, ArrivalsNeverDecrease) {
  ArrivalSchedule schedule(/*rate=*/1e6, /*seed=*/1);
  std::chrono::nanoseconds last(0);

  for (int i = 0; i < 10'000; ++i) {
    const std::chrono::nanoseconds next = schedule.Next();
    EXPECT_GE(next, last);
    last = next;
  }
}

TEST(ArrivalScheduleTest, GapsHaveMeanAndDeviationOfAnExponential) {
  constexpr double kRate = 250.0;
  constexpr int kCount = 100'000;
  ArrivalSchedule schedule(kRate, /*seed=*/3);
  double last = 0.0;
  double sum = 0.0;
  double sum_of_squares = 0.0;

  for (int i = 0; i < kCount; ++i) {
    const double now = std::chrono::duration<double>(schedule.Next()).count();
    sum += now - last;
    sum_of_squares += (now - last) * (now - last);
    last = now;
  }

  const double mean = sum / kCount;
  EXPECT_NEAR(mean, 1.0 / kRate, 0.02 / kRate);
  EXPECT_NEAR(std::sqrt(sum_of_squares / kCount - mean * mean), 1.0 / kRate,
              0.03 / kRate);
}

}  // namespace
}  // namespace attention
