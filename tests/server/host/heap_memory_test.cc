// SPDX-License-Identifier: Apache-2.0
#include "server/host/heap_memory.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

namespace attention {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20U;

TEST(HeapMemoryTest, CountsWhatIsAllocated) {
  const HeapBytes heap_before = ReadHeap();
  const std::size_t anonymous_before = ReadAnonymousBytes().value();

  char* volatile block = new char[64 * kMiB];
  std::memset(block, 1, 64 * kMiB);
  const HeapBytes heap = ReadHeap();
  const std::size_t anonymous = ReadAnonymousBytes().value();
  delete[] block;

  EXPECT_GE(heap.in_use, heap_before.in_use + 64 * kMiB);
  EXPECT_GE(anonymous, anonymous_before + 60 * kMiB);
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

TEST(TrimRuleTest, LooksBackNoFurtherThanTheLastTime) {
  TrimRule rule;
  EXPECT_FALSE(rule.Look(0));
  EXPECT_FALSE(rule.Look(500 * kMiB));
  EXPECT_FALSE(rule.Look(500 * kMiB));
  EXPECT_TRUE(rule.Look(510 * kMiB));
  EXPECT_FALSE(rule.Look(510 * kMiB));
  EXPECT_FALSE(rule.Look(510 * kMiB));
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
