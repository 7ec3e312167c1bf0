// SPDX-License-Identifier: Apache-2.0
#include "server/host/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "server/host/cgroup.h"

namespace attention {
namespace {

namespace fs = std::filesystem;

std::optional<double> Ratio(const std::string& quota, double period) {
  // "max" (version 2) and -1 (version 1) mean no limit.
  const double value = std::atof(quota.c_str());
  if (value <= 0 || period <= 0) return std::nullopt;
  return value / period;
}

std::optional<double> QuotaOf(const fs::path& group) {
  std::string quota;
  double period = 0;
  if (std::ifstream(group / "cpu.max") >> quota >> period) {
    return Ratio(quota, period);
  }
  if (std::ifstream(group / "cpu.cfs_quota_us") >> quota &&
      std::ifstream(group / "cpu.cfs_period_us") >> period) {
    return Ratio(quota, period);
  }
  return std::nullopt;
}

}  // namespace

std::optional<double> CpuQuota(const fs::path& mount,
                               const fs::path& membership) {
  std::optional<double> least;
  for (const fs::path& group : ControlGroups(mount, membership, "cpu")) {
    const std::optional<double> quota = QuotaOf(group);
    if (quota && (!least || *quota < *least)) least = quota;
  }
  return least;
}

std::size_t UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::size_t cpus = 1;
  if (sched_getaffinity(/*pid=*/0, sizeof(set), &set) == 0) {
    cpus = static_cast<std::size_t>(std::max(CPU_COUNT(&set), 1));
  }
  const std::optional<double> quota = CpuQuota(kCgroupMount, kCgroupMembership);
  if (!quota) return cpus;
  return std::clamp<std::size_t>(static_cast<std::size_t>(std::ceil(*quota)), 1,
                                 cpus);
}

}  // namespace attention
