// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

namespace attention {

/// Return the bytes of memory this process may use: the least of the machine's
/// and the limits of its control groups.
[[nodiscard]] std::size_t UsableMemory();

/// Return the least memory limit, in bytes, of a process's control groups and
/// their ancestors; nothing when there is none.
///
/// \param mount as for ControlGroups.
/// \param membership as for ControlGroups.
/// Source: Linux, Documentation/admin-guide/cgroup-v2.rst, "memory.max", and
/// cgroup-v1/memory.rst.
[[nodiscard]] std::optional<std::size_t> MemoryLimit(
    const std::filesystem::path& mount,
    const std::filesystem::path& membership);

}  // namespace attention
