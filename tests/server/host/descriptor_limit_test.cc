// SPDX-License-Identifier: Apache-2.0
#include "server/host/descriptor_limit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace attention {
namespace {

TEST(DescriptorLimitTest, BecomesTheHardOne) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit lowered{.rlim_cur = 256, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lowered), 0);

  EXPECT_EQ(RaiseDescriptorLimit(), before.rlim_max);

  rlimit after{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
}

TEST(DescriptorLimitTest, LeavesHalfOfTheDescriptors) {
  EXPECT_EQ(DefaultMaxConnections(1), 1U);
  EXPECT_EQ(DefaultMaxConnections(1024), 256U);
  EXPECT_EQ(DefaultMaxConnections(1 << 20), 10'000U);
}

}  // namespace
}  // namespace attention
