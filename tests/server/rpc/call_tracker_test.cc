// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/call_tracker.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>

namespace attention {
namespace {

TEST(CallTrackerTest, IsIdleWithoutCalls) {
  CallTracker calls;

  EXPECT_TRUE(calls.WaitIdle(std::chrono::milliseconds(0)));
}

TEST(CallTrackerTest, IsNotIdleDuringACall) {
  CallTracker calls;
  const CallTracker::Token call(calls);

  EXPECT_FALSE(calls.WaitIdle(std::chrono::milliseconds(0)));
}

TEST(CallTrackerTest, WaitsForTheLastCall) {
  CallTracker calls;
  std::optional<CallTracker::Token> first(std::in_place, calls);
  std::optional<CallTracker::Token> second(std::in_place, calls);
  first.reset();

  std::jthread ending([&second] { second.reset(); });

  EXPECT_TRUE(calls.WaitIdle(std::chrono::hours(1)));
}

}  // namespace
}  // namespace attention
