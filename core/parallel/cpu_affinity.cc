// SPDX-License-Identifier: Apache-2.0
#include "core/parallel/cpu_affinity.h"

#include <sched.h>

namespace attention {

void PinThisThread(std::size_t index) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  std::size_t skip = index % static_cast<std::size_t>(CPU_COUNT(&allowed));
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    if (skip-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
    return;
  }
}

void SleepAffinity::FallAsleep(int cpu) {
  const std::lock_guard lock(mutex_);
  thread_ = pthread_self();
  asleep_ = true;
  CPU_ZERO(&narrowed_);
  Narrow(cpu);
}

void SleepAffinity::WakeUp() {
  const std::lock_guard lock(mutex_);
  asleep_ = false;
  cpu_set_t now;
  if (sched_getaffinity(0, sizeof(now), &now) != 0) return;
  if (CPU_EQUAL(&now, &allowed_) || !CPU_EQUAL(&now, &narrowed_)) return;
  sched_setaffinity(0, sizeof(allowed_), &allowed_);
}

void SleepAffinity::KeepOff(int cpu) {
  // Whoever holds the lock falls asleep or wakes, and is not waited for.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock && asleep_) Narrow(cpu);
}

void SleepAffinity::Narrow(int cpu) {
  cpu_set_t now;
  if (pthread_getaffinity_np(thread_, sizeof(now), &now) != 0) return;
  if (!CPU_EQUAL(&now, &narrowed_)) {  // set by others
    allowed_ = narrowed_ = now;
  }
  cpu_set_t others = allowed_;
  if (cpu >= 0) CPU_CLR(static_cast<std::size_t>(cpu), &others);
  if (CPU_COUNT(&others) == 0 || CPU_EQUAL(&others, &narrowed_)) return;
  if (pthread_setaffinity_np(thread_, sizeof(others), &others) != 0) return;
  // A cpuset may have cut it.
  pthread_getaffinity_np(thread_, sizeof(narrowed_), &narrowed_);
}

}  // namespace attention
