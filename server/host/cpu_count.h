// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

namespace attention {

/// Return the cores this process may keep busy: the least of its CPU affinity
/// and the CPU quotas of its control groups, rounded up; at least 1.
[[nodiscard]] std::size_t UsableCpus();

/// Return the least CPU quota, in cores, of a process's control groups and
/// their ancestors; nothing when there is none.
///
/// \param mount where the hierarchies are mounted, such as /sys/fs/cgroup
///   (version 2, or version 1 with its `cpu` controller below).
/// \param membership the process's own groups, such as /proc/self/cgroup.
/// Source: Linux, Documentation/admin-guide/cgroup-v2.rst, "cpu.max", and
/// Documentation/scheduler/sched-bwc.rst; cgroups(7).
[[nodiscard]] std::optional<double> CpuQuota(
    const std::filesystem::path& mount,
    const std::filesystem::path& membership);

}  // namespace attention
