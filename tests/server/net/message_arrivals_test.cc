// SPDX-License-Identifier: Apache-2.0
#include "server/net/message_arrivals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <random>
#include <vector>

namespace attention {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr MessageArrivals::Time kStart{};

TEST(MessageArrivalsTest, CountsWhatHasNotComeWhole) {
  MessageArrivals arrivals;
  EXPECT_EQ(arrivals.pending_bytes(), 0U);
  arrivals.Update(/*received_bytes=*/1000, /*delivered_bytes=*/0, kStart);
  EXPECT_EQ(arrivals.pending_bytes(), 1000U);
  arrivals.Update(1500, 1400, kStart);
  EXPECT_EQ(arrivals.pending_bytes(), 100U);
}

TEST(MessageArrivalsTest, ForgetsWhatWasThereWhenAllWasWell) {
  MessageArrivals arrivals;
  arrivals.Update(1000, 0, kStart);
  arrivals.Settle();
  EXPECT_EQ(arrivals.pending_bytes(), 0U);
  arrivals.Update(1300, 0, kStart);
  EXPECT_EQ(arrivals.pending_bytes(), 300U);
  // The message that had begun before comes whole.
  arrivals.Update(1400, 1390, kStart);
  EXPECT_EQ(arrivals.pending_bytes(), 0U);
  arrivals.Settle();
  arrivals.Update(1500, 1390, kStart);
  EXPECT_EQ(arrivals.pending_bytes(), 100U);
}

TEST(MessageArrivalsTest, StallsWhenNothingComes) {
  MessageArrivals arrivals;
  arrivals.Update(1, 0, kStart);
  EXPECT_FALSE(arrivals.IsStalled(kStart + milliseconds(999)));
  EXPECT_TRUE(arrivals.IsStalled(kStart + seconds(1)));
  arrivals.Update(2, 0, kStart + seconds(1));
  EXPECT_FALSE(arrivals.IsStalled(kStart + milliseconds(1999)));
  arrivals.Update(2, 0, kStart + milliseconds(1999));
  EXPECT_TRUE(arrivals.IsStalled(kStart + seconds(2)));
}

TEST(ChooseToCloseTest, ClosesNobodyForNothing) {
  std::mt19937_64 random;
  EXPECT_THAT(ChooseToClose({}, 1, random), IsEmpty());
  EXPECT_THAT(
      ChooseToClose(std::vector<PendingMessages>{{.num_bytes = 1}}, 0, random),
      IsEmpty());
  EXPECT_THAT(
      ChooseToClose(std::vector<PendingMessages>{{.num_bytes = 0}}, 1, random),
      IsEmpty());
}

TEST(ChooseToCloseTest, ClosesTheStalledFirst) {
  std::mt19937_64 random;
  const std::vector<PendingMessages> connections = {
      {.num_bytes = 1000},
      {.num_bytes = 10, .is_stalled = true},
      {.num_bytes = 1000},
      {.num_bytes = 10, .is_stalled = true},
  };

  EXPECT_THAT(ChooseToClose(connections, 11, random),
              UnorderedElementsAre(1, 3));
  EXPECT_EQ(ChooseToClose(connections, 21, random).size(), 3U);
}

TEST(ChooseToCloseTest, ClosesAllIfTheyHoldTooLittle) {
  std::mt19937_64 random;
  const std::vector<PendingMessages> connections = {
      {.num_bytes = 5}, {.num_bytes = 0}, {.num_bytes = 5}};

  EXPECT_THAT(ChooseToClose(connections, 1000, random),
              UnorderedElementsAre(0, 2));
}

TEST(ChooseToCloseTest, ClosesByLotInProportion) {
  std::mt19937_64 random;
  const std::vector<PendingMessages> connections = {{.num_bytes = 900},
                                                    {.num_bytes = 100}};
  constexpr int kDraws = 10'000;

  std::array<int, 2> chosen{};
  for (int i = 0; i < kDraws; ++i) {
    ++chosen.at(ChooseToClose(connections, 1, random).front());
  }

  // Six standard deviations of the binomial distribution.
  EXPECT_NEAR(chosen[0], 0.9 * kDraws, 180);
}

}  // namespace
}  // namespace attention
