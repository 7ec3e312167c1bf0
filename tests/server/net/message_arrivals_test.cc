// SPDX-License-Identifier: Apache-2.0
#include "server/net/message_arrivals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <vector>

namespace attention {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST(MessageArrivalsTest, CountsWhatHasNotComeWhole) {
  MessageArrivals arrivals;
  EXPECT_EQ(arrivals.pending_bytes(), 0U);
  arrivals.Update(/*received_bytes=*/1000, /*delivered_bytes=*/0);
  EXPECT_EQ(arrivals.pending_bytes(), 1000U);
  arrivals.Update(1500, 1400);
  EXPECT_EQ(arrivals.pending_bytes(), 100U);
}

TEST(MessageArrivalsTest, ForgetsWhatWasThereWhenAllWasWell) {
  MessageArrivals arrivals;
  arrivals.Update(1000, 0);
  arrivals.Settle();
  EXPECT_EQ(arrivals.pending_bytes(), 0U);
  arrivals.Update(1300, 0);
  EXPECT_EQ(arrivals.pending_bytes(), 300U);
  // The message that had begun before comes whole.
  arrivals.Update(1400, 1390);
  EXPECT_EQ(arrivals.pending_bytes(), 0U);
  arrivals.Settle();
  arrivals.Update(1500, 1390);
  EXPECT_EQ(arrivals.pending_bytes(), 100U);
}

TEST(MessageArrivalsTest, HoldsNothingWhereMoreIsTakenToHaveComeWhole) {
  MessageArrivals arrivals;
  arrivals.Update(1000, 1001);
  EXPECT_EQ(arrivals.pending_bytes(), 0U);
  arrivals.Settle();
  arrivals.Update(1010, 1001);
  EXPECT_EQ(arrivals.pending_bytes(), 10U);
}

using Bytes = std::vector<std::uint64_t>;

TEST(ChooseToCloseTest, ClosesNobodyForNothing) {
  std::mt19937_64 random;
  EXPECT_THAT(ChooseToClose({}, 1, random), IsEmpty());
  EXPECT_THAT(ChooseToClose(Bytes{1}, 0, random), IsEmpty());
  EXPECT_THAT(ChooseToClose(Bytes{0}, 1, random), IsEmpty());
}

TEST(ChooseToCloseTest, ClosesAsManyAsItTakes) {
  std::mt19937_64 random;
  const Bytes equal(10, 100);

  EXPECT_THAT(ChooseToClose(equal, 100, random), SizeIs(1));
  EXPECT_THAT(ChooseToClose(equal, 101, random), SizeIs(2));
}

TEST(ChooseToCloseTest, ClosesAllIfTheyHoldTooLittle) {
  std::mt19937_64 random;

  EXPECT_THAT(ChooseToClose(Bytes{5, 0, 5}, 1000, random),
              UnorderedElementsAre(0, 2));
}

TEST(ChooseToCloseTest, ClosesByLotInProportion) {
  std::mt19937_64 random;
  const Bytes bytes = {900, 100};
  constexpr int kDraws = 10'000;

  std::array<int, 2> chosen{};
  for (int i = 0; i < kDraws; ++i) {
    ++chosen.at(ChooseToClose(bytes, 1, random).front());
  }

  // Six standard deviations of the binomial distribution.
  EXPECT_NEAR(chosen[0], 0.9 * kDraws, 180);
}

}  // namespace
}  // namespace attention
