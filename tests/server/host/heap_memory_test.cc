// SPDX-License-Identifier: Apache-2.0
#include "server/host/heap_memory.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <memory>

namespace attention {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20U;

TEST(HeapMemoryTest, CountsWhatIsAllocated) {
  const HeapBytes heap_before = ReadHeap();
  const std::size_t anonymous_before = ReadAnonymousBytes();
  ASSERT_GT(anonymous_before, 0U);

  const auto block = std::make_unique<char[]>(64 * kMiB);
  std::memset(block.get(), 1, 64 * kMiB);

  EXPECT_GE(ReadHeap().in_use, heap_before.in_use + 64 * kMiB);
  EXPECT_GE(ReadAnonymousBytes(), anonymous_before + 60 * kMiB);
}

TEST(TrimRuleTest, GivesBackWhatABurstLeft) {
  TrimRule rule;
  EXPECT_FALSE(rule.Look(10 * kMiB));
  EXPECT_FALSE(rule.Look(5 * kMiB));
  EXPECT_FALSE(rule.Look(500 * kMiB));
  EXPECT_FALSE(rule.Look(500 * kMiB));
  EXPECT_TRUE(rule.Look(500 * kMiB));
}

TEST(TrimRuleTest, GivesBackOnce) {
  TrimRule rule;
  EXPECT_FALSE(rule.Look(0));
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(rule.Look(500 * kMiB));
  EXPECT_TRUE(rule.Look(500 * kMiB));
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(rule.Look(500 * kMiB));
  // Used and free again.
  EXPECT_FALSE(rule.Look(400 * kMiB));
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(rule.Look(490 * kMiB));
  EXPECT_TRUE(rule.Look(490 * kMiB));
}

TEST(TrimRuleTest, KeepsWhatIsUsedAgainAndAgain) {
  TrimRule rule;
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(rule.Look(1 * kMiB));
    EXPECT_FALSE(rule.Look(500 * kMiB));
    EXPECT_FALSE(rule.Look(500 * kMiB));
  }
}

TEST(TrimRuleTest, LeavesTrifles) {
  TrimRule rule;
  EXPECT_FALSE(rule.Look(0));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(rule.Look(31 * kMiB));
}

}  // namespace
}  // namespace attention
