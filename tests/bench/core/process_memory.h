// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace attention::bench {

/// Measure by how many bytes the resident memory of the process rises at most
/// while `work` runs. Give what was freed before back to the system first, and
/// reset the kernel's high-water mark (VmHWM of /proc/self/status). Linux with
/// glibc; throws std::runtime_error elsewhere.
[[nodiscard]] std::int64_t PeakMemoryGrowth(const std::function<void()>& work);

}  // namespace attention::bench
