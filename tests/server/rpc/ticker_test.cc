// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/ticker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <new>

namespace attention {
namespace {

TEST(TickerTest, CallsAgainAndAgain) {
  std::latch calls(3);
  std::atomic<int> num_calls = 0;

  const Ticker ticker(std::chrono::milliseconds(1), [&] {
    if (++num_calls <= 3) calls.count_down();
  });

  calls.wait();
}

TEST(TickerTest, GoesOnAfterMemoryHasRunOut) {
  std::latch calls(2);
  std::atomic<int> num_calls = 0;

  const Ticker ticker(std::chrono::milliseconds(1), [&] {
    if (++num_calls <= 2) calls.count_down();
    throw std::bad_alloc();
  });

  calls.wait();
}

TEST(TickerTest, StopsAtOnceHoweverLongItsPeriod) {
  std::atomic<int> num_calls = 0;
  {
    const Ticker ticker(std::chrono::hours(24), [&] { ++num_calls; });
  }

  EXPECT_EQ(num_calls, 0);
}

}  // namespace
}  // namespace attention
