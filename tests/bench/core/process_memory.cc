// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/core/process_memory.h"

#include <malloc.h>

#include <fstream>
#include <stdexcept>
#include <string>

namespace attention::bench {
namespace {

// A field of /proc/self/status that is given in kB, in bytes.
std::int64_t StatusBytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(field + ":")) continue;
    constexpr std::int64_t kKilobyte = 1024;
    return std::stoll(line.substr(field.size() + 1)) * kKilobyte;
  }
  throw std::runtime_error("/proc/self/status has no " + field);
}

}  // namespace

std::int64_t PeakMemoryGrowth(const std::function<void()>& work) {
  malloc_trim(0);
  // 5 resets the high-water mark: proc_pid_clear_refs(5).
  std::ofstream("/proc/self/clear_refs") << "5" << std::flush;
  const std::int64_t before = StatusBytes("VmRSS");
  // Where the reset has no effect, the result would be of earlier work.
  constexpr std::int64_t kSlack = std::int64_t{4} << 20U;
  if (StatusBytes("VmHWM") > before + kSlack) {
    throw std::runtime_error("VmHWM cannot be reset");
  }
  work();
  return StatusBytes("VmHWM") - before;
}

}  // namespace attention::bench
