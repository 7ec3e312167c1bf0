// SPDX-License-Identifier: Apache-2.0
#include "server/host/memory_size.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "server/host/cgroup.h"

namespace attention {
namespace {

namespace fs = std::filesystem;

// "max" (version 2), which is no number, means no limit; so does a number
// larger than any machine (version 1), which is never the least.
std::optional<std::size_t> LimitOf(const fs::path& group) {
  std::size_t limit = 0;
  if (std::ifstream(group / "memory.max") >> limit) return limit;
  if (std::ifstream(group / "memory.limit_in_bytes") >> limit) return limit;
  return std::nullopt;
}

}  // namespace

std::optional<std::size_t> MemoryLimit(const fs::path& mount,
                                       const fs::path& membership) {
  std::optional<std::size_t> least;
  for (const fs::path& group : ControlGroups(mount, membership, "memory")) {
    const std::optional<std::size_t> limit = LimitOf(group);
    if (limit && (!least || *limit < *least)) least = limit;
  }
  return least;
}

std::size_t UsableMemory() {
  const auto machine = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
                       static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return std::min(
      machine, MemoryLimit(kCgroupMount, kCgroupMembership).value_or(machine));
}

}  // namespace attention
