// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>
#include <sched.h>

#include <cstddef>

namespace attention {

/// Whether threads that compute stay each on a CPU of its own.
enum class Pinning : bool { kNone, kPinned };

/// Let the calling thread run on one CPU only: the `index`-th of those it may
/// run on now, counted around. Nothing changes where the system refuses.
void PinThisThread(std::size_t index);

/// Return the CPUs the calling thread may run on; none where the system does
/// not say.
[[nodiscard]] cpu_set_t AllowedCpus();

/// Let a thread run on all of `allowed` but `cpu`, which may be kNoCpu. Nothing
/// changes if that is none, or where the system refuses.
inline constexpr int kNoCpu = -1;
void KeepOffCpu(pthread_t thread, const cpu_set_t& allowed, int cpu);

}  // namespace attention
