// SPDX-License-Identifier: Apache-2.0
#include "server/net/line_limit.h"

#include <gtest/gtest.h>

namespace attention {
namespace {

using std::chrono::milliseconds;

TEST(LineLimitTest, TellsHowManyLinesWereRefused) {
  LineLimit limit(2);
  const LineLimit::Time begin{};

  EXPECT_EQ(limit.Take(begin), 0U);
  EXPECT_EQ(limit.Take(begin + milliseconds(500)), 0U);
  EXPECT_EQ(limit.Take(begin + milliseconds(999)), std::nullopt);
  EXPECT_EQ(limit.Take(begin + milliseconds(1000)), 1U);
  EXPECT_EQ(limit.Take(begin + milliseconds(1001)), 0U);
  EXPECT_EQ(limit.Take(begin + milliseconds(1002)), std::nullopt);
}

}  // namespace
}  // namespace attention
