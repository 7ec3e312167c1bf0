// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <sched.h>

namespace attention::testing {

/// CPUs that a thread may run on; 0 is the calling one.
inline cpu_set_t CpusOf(pid_t thread) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  EXPECT_EQ(sched_getaffinity(thread, sizeof(cpus), &cpus), 0);
  return cpus;
}

/// Those of `allowed` that are not in `avoided`, or all if there are no others.
inline cpu_set_t OtherCpus(const cpu_set_t& allowed, const cpu_set_t& avoided) {
  cpu_set_t others;
  CPU_XOR(&others, &allowed, &avoided);
  return CPU_COUNT(&others) == 0 ? allowed : others;
}

}  // namespace attention::testing
