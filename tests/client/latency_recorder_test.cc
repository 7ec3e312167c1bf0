// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/latency_recorder.h"

#include <gtest/gtest.h>

namespace attention {
namespace {

using std::chrono::nanoseconds;

// Records 1, 2, ... count, the largest first.
LatencyRecorder MakeRecorder(int count) {
  LatencyRecorder recorder;
  for (int i = count; i > 0; --i) recorder.Record(nanoseconds(i));
  return recorder;
}

TEST(LatencyRecorderTest, ReturnsNearestRank) {
  const LatencyRecorder recorder = MakeRecorder(5);

  EXPECT_EQ(recorder.Percentile(200), nanoseconds(1));
  EXPECT_EQ(recorder.Percentile(201), nanoseconds(2));
  EXPECT_EQ(recorder.Percentile(500), nanoseconds(3));
  EXPECT_EQ(recorder.Percentile(900), nanoseconds(5));
  EXPECT_EQ(recorder.Percentile(1000), nanoseconds(5));
}

TEST(LatencyRecorderTest, PercentilesOfRoundCountsAreExact) {
  const LatencyRecorder recorder = MakeRecorder(1000);

  EXPECT_EQ(recorder.Percentile(500), nanoseconds(500));
  EXPECT_EQ(recorder.Percentile(990), nanoseconds(990));
  EXPECT_EQ(recorder.Percentile(999), nanoseconds(999));
}

TEST(LatencyRecorderTest, EveryPercentileOfOneValueIsThatValue) {
  const LatencyRecorder recorder = MakeRecorder(1);

  for (const std::uint64_t per_mille : {1, 500, 999, 1000}) {
    EXPECT_EQ(recorder.Percentile(per_mille), nanoseconds(1));
  }
}

TEST(LatencyRecorderTest, EmptyRecorderYieldsZero) {
  const LatencyRecorder recorder;

  EXPECT_EQ(recorder.Percentile(500), nanoseconds(0));
  EXPECT_EQ(recorder.max(), nanoseconds(0));
  EXPECT_EQ(recorder.mean(), nanoseconds(0));
}

TEST(LatencyRecorderTest, RecordsAfterAPercentileWasRead) {
  LatencyRecorder recorder = MakeRecorder(3);
  EXPECT_EQ(recorder.Percentile(1000), nanoseconds(3));

  recorder.Record(nanoseconds(0));

  EXPECT_EQ(recorder.Percentile(1), nanoseconds(0));
  EXPECT_EQ(recorder.max(), nanoseconds(3));
  EXPECT_EQ(recorder.count(), 4U);
}

TEST(LatencyRecorderTest, ComputesMean) {
  EXPECT_EQ(MakeRecorder(9).mean(), nanoseconds(5));
}

}  // namespace
}  // namespace attention
