// SPDX-License-Identifier: Apache-2.0
#include "core/attention/cpu_affinity.h"

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
  if (sched_getaffinity(0, sizeof(allowed_), &allowed_) != 0) return;
  asleep_ = true;
  narrowed_ = allowed_;
  Narrow(cpu);
}

void SleepAffinity::WakeUp() {
  const std::lock_guard lock(mutex_);
  if (!asleep_) return;
  asleep_ = false;
  cpu_set_t now;
  CPU_ZERO(&now);
  sched_getaffinity(0, sizeof(now), &now);
  if (CPU_EQUAL(&now, &allowed_) || !CPU_EQUAL(&now, &narrowed_)) return;
  sched_setaffinity(0, sizeof(allowed_), &allowed_);
}

void SleepAffinity::KeepOff(int cpu) {
  const std::lock_guard lock(mutex_);
  if (asleep_) Narrow(cpu);
}

void SleepAffinity::Narrow(int cpu) {
  cpu_set_t others = allowed_;
  if (cpu >= 0) CPU_CLR(static_cast<std::size_t>(cpu), &others);
  if (CPU_COUNT(&others) == 0 || CPU_EQUAL(&others, &narrowed_)) return;
  if (pthread_setaffinity_np(thread_, sizeof(others), &others) == 0) {
    narrowed_ = others;
  }
}

}  // namespace attention
