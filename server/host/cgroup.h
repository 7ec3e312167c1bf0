// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace attention {

/// Where control groups are mounted, and which of them this process is in.
inline constexpr std::string_view kCgroupMount = "/sys/fs/cgroup";
inline constexpr std::string_view kCgroupMembership = "/proc/self/cgroup";

/// Return the directories of a process's control groups and their ancestors
/// that may limit what `controller` ("cpu", "memory") shares out. Not all of
/// them exist.
///
/// \param mount where the hierarchies are mounted, such as kCgroupMount
///   (version 2, or version 1 with the controller's below).
/// \param membership the process's own groups, such as kCgroupMembership.
/// Source: Linux, Documentation/admin-guide/cgroup-v2.rst; cgroups(7).
[[nodiscard]] std::vector<std::filesystem::path> ControlGroups(
    const std::filesystem::path& mount, const std::filesystem::path& membership,
    std::string_view controller);

}  // namespace attention
