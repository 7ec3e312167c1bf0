// SPDX-License-Identifier: Apache-2.0
#include "server/host/memory_size.h"

#include <gtest/gtest.h>

#include "tests/server/repository/temporary_directory.h"

namespace attention {
namespace {

std::optional<std::size_t> LimitIn(const TemporaryDirectory& root) {
  return MemoryLimit(root.path() / "mount", root.path() / "membership");
}

TEST(MemoryLimitTest, TakesTheLeastOfAllAncestorsInVersion2) {
  const TemporaryDirectory root;
  root.Write("membership", "0::/a/b/c\n");
  root.Write("mount/a/memory.max", "2147483648\n");
  root.Write("mount/a/b/memory.max", "max\n");
  root.Write("mount/a/b/c/memory.max", "3221225472\n");

  EXPECT_EQ(LimitIn(root), std::size_t{2} << 30);
}

TEST(MemoryLimitTest, ReadsVersion1) {
  const TemporaryDirectory root;
  root.Write("membership", "5:memory:/a\n4:cpu,cpuacct:/a\n");
  root.Write("mount/memory/a/memory.limit_in_bytes", "1048576\n");
  root.Write("mount/memory/memory.limit_in_bytes", "9223372036854771712\n");

  EXPECT_EQ(LimitIn(root), std::size_t{1} << 20);
}

TEST(MemoryLimitTest, IsNothingWithoutLimit) {
  const TemporaryDirectory root;
  root.Write("membership", "0::/\n");
  root.Write("mount/memory.max", "max\n");

  EXPECT_FALSE(LimitIn(root));
}

TEST(UsableMemoryTest, IsSome) { EXPECT_GT(UsableMemory(), 1U << 20); }

}  // namespace
}  // namespace attention
