// SPDX-License-Identifier: Apache-2.0
#include "server/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

namespace attention {
namespace {

namespace fs = std::filesystem;

// Groups this deep do not occur; bounds the walk upwards.
constexpr int kMaxDepth = 32;

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

// The directories a line of `membership`, "id:controllers:/path", may mean.
// Inside a container the path is often the host's and does not exist; the
// mount's own root is then the container's group.
std::vector<fs::path> GroupsOf(const fs::path& mount, const std::string& line) {
  const std::size_t first = line.find(':');
  const std::size_t second = line.find(':', first + 1);
  if (first == std::string::npos || second == std::string::npos) return {};
  const std::string controllers = line.substr(first + 1, second - first - 1);
  const bool version_2 = controllers.empty();
  const bool has_cpu =
      ("," + controllers + ",").find(",cpu,") != std::string::npos;
  if (!version_2 && !has_cpu) return {};
  const fs::path root = version_2 ? mount : mount / "cpu";
  std::vector<fs::path> groups = {root};
  fs::path group = fs::path(line.substr(second + 1)).relative_path();
  for (int depth = 0; depth < kMaxDepth && !group.empty(); ++depth) {
    groups.push_back(root / group);
    group = group.parent_path();
  }
  return groups;
}

}  // namespace

std::optional<double> CpuQuota(const fs::path& mount,
                               const fs::path& membership) {
  std::optional<double> least;
  std::ifstream lines(membership);
  for (std::string line; std::getline(lines, line);) {
    for (const fs::path& group : GroupsOf(mount, line)) {
      const std::optional<double> quota = QuotaOf(group);
      if (quota && (!least || *quota < *least)) least = quota;
    }
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
  const std::optional<double> quota =
      CpuQuota("/sys/fs/cgroup", "/proc/self/cgroup");
  if (!quota) return cpus;
  return std::clamp<std::size_t>(static_cast<std::size_t>(std::ceil(*quota)), 1,
                                 cpus);
}

}  // namespace attention
