// SPDX-License-Identifier: Apache-2.0
#include "core/attention/places.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace attention {
namespace {

struct Place {
  const Sequence* sequence = nullptr;
  std::int64_t first_query = 0;
};

// Sequences of 0, 3, 0, 0, 2 and 0 rows, each of a request of its own, and,
// behind them, where the last one ends, or not.
class PlacesTest : public ::testing::TestWithParam<bool> {
 protected:
  PlacesTest() {
    std::int64_t row = 0;
    for (std::size_t s = 0; s < kLengths.size(); ++s) {
      sequences_[s].request = &requests_[s];
      sequences_[s].query_length = kLengths[s];
      places_.push_back({&sequences_[s], row});
      row += kLengths[s];
    }
    if (GetParam()) places_.push_back({nullptr, row});
  }

  void Stop(std::size_t s) {
    requests_[s].Bind({}, [] { return true; });
  }
  [[nodiscard]] bool Stopped(const RowRange& rows) const {
    return AllStopped(places_, &Place::first_query, rows);
  }

  static constexpr std::array<std::int64_t, 6> kLengths = {0, 3, 0, 0, 2, 0};
  std::array<RequestPlan, 6> requests_;
  std::array<Sequence, 6> sequences_;
  std::vector<Place> places_;
};

TEST_P(PlacesTest, FindsTheSequenceOfARow) {
  for (std::int64_t row = 0; row < 5; ++row) {
    EXPECT_EQ(PlaceOf(places_, &Place::first_query, row)->sequence,
              &sequences_[row < 3 ? 1 : 4])
        << row;
  }
}

TEST_P(PlacesTest, VisitsEveryRowInItsPlace) {
  for (std::int64_t first = 0; first < 5; ++first) {
    for (std::int64_t count = 1; first + count <= 5; ++count) {
      std::int64_t next = first;
      ForEachRow(places_, &Place::first_query, {first, count},
                 [&](const Place& place, auto position, auto row) {
                   EXPECT_EQ(row, next++);
                   EXPECT_EQ(place.sequence, &sequences_[row < 3 ? 1 : 4]);
                   EXPECT_EQ(position, row < 3 ? row : row - 3);
                 });
      EXPECT_EQ(next, first + count);
    }
  }
}

TEST_P(PlacesTest, RowsAreStoppedOnceNobodyWaitsForAnyOfThem) {
  EXPECT_FALSE(Stopped({0, 5}));
  Stop(1);
  EXPECT_TRUE(Stopped({0, 3}));
  EXPECT_TRUE(Stopped({2, 1}));
  EXPECT_FALSE(Stopped({2, 2}));
  EXPECT_FALSE(Stopped({3, 2}));
  for (const std::size_t empty : {2U, 3U}) Stop(empty);
  Stop(4);
  EXPECT_TRUE(Stopped({2, 2}));
  EXPECT_TRUE(Stopped({3, 1}));
}

INSTANTIATE_TEST_SUITE_P(Ends, PlacesTest, ::testing::Bool());

}  // namespace
}  // namespace attention
