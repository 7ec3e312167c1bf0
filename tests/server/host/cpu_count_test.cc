// SPDX-License-Identifier: Apache-2.0
#include "server/host/cpu_count.h"

#include <gtest/gtest.h>

#include "tests/server/repository/temporary_directory.h"

namespace attention {
namespace {

TEST(CpuQuotaTest, ReadsVersion2) {
  const TemporaryDirectory root;
  root.Write("membership", "0::/\n");
  root.Write("mount/cpu.max", "150000 100000\n");

  EXPECT_EQ(CpuQuota(root.path() / "mount", root.path() / "membership"), 1.5);
}

TEST(CpuQuotaTest, ReadsVersion1) {
  const TemporaryDirectory root;
  root.Write("membership", "5:memory:/a\n4:cpu,cpuacct:/a\n");
  root.Write("mount/cpu/a/cpu.cfs_quota_us", "400000\n");
  root.Write("mount/cpu/a/cpu.cfs_period_us", "100000\n");

  EXPECT_EQ(CpuQuota(root.path() / "mount", root.path() / "membership"), 4.0);
}

TEST(CpuQuotaTest, TakesTheLeastOfAllAncestors) {
  const TemporaryDirectory root;
  root.Write("membership", "0::/a/b/c\n");
  root.Write("mount/a/cpu.max", "200000 100000\n");
  root.Write("mount/a/b/cpu.max", "max 100000\n");
  root.Write("mount/a/b/c/cpu.max", "300000 100000\n");

  EXPECT_EQ(CpuQuota(root.path() / "mount", root.path() / "membership"), 2.0);
}

TEST(CpuQuotaTest, IsNothingWithoutLimit) {
  const TemporaryDirectory root;
  root.Write("membership", "0::/\n4:cpu:/\n");
  root.Write("mount/cpu.max", "max 100000\n");
  root.Write("mount/cpu/cpu.cfs_quota_us", "-1\n");
  root.Write("mount/cpu/cpu.cfs_period_us", "100000\n");

  EXPECT_FALSE(CpuQuota(root.path() / "mount", root.path() / "membership"));
}

TEST(CpuQuotaTest, IsNothingWithoutControlGroups) {
  const TemporaryDirectory root;

  EXPECT_FALSE(CpuQuota(root.path() / "mount", root.path() / "membership"));
}

TEST(UsableCpusTest, IsAtLeastOne) { EXPECT_GE(UsableCpus(), 1U); }

}  // namespace
}  // namespace attention
