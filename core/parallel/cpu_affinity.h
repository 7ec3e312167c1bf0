// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>
#include <sched.h>

#include <cstddef>
#include <mutex>

namespace attention {

/// Whether threads that compute stay each on a CPU of its own.
enum class Pinning : bool { kNone, kPinned };

/// Let the calling thread run on one CPU only: the `index`-th of those it may
/// run on now, counted around. Nothing changes where the system refuses.
void PinThisThread(std::size_t index);

/// Keeps a thread that sleeps off a CPU, so that it wakes on another; awake, it
/// may run wherever it might before. Where it has only that CPU, where there
/// are more than 1,024, or where the system refuses, nothing changes.
///
/// What others set meanwhile (taskset) stays, unless it is just what was set
/// here. A cpuset that loses CPUs meanwhile is taken for such a setting; one
/// that gains CPUs is not noticed, as by any thread whose affinity has been
/// set. Thread-safe.
class SleepAffinity {
 public:
  /// The calling thread will sleep, and wake on another CPU than `cpu`. -1 is
  /// none.
  void FallAsleep(int cpu);
  /// The thread that fell asleep is awake.
  void WakeUp();
  /// Let the thread, if it is asleep, wake on another CPU than `cpu`. Does not
  /// wait for one that is about to sleep or to wake.
  void KeepOff(int cpu);

 private:
  void Narrow(int cpu);

  std::mutex mutex_;
  bool asleep_ = false;
  pthread_t thread_{};
  cpu_set_t allowed_{};   // when it fell asleep, or as others set it since
  cpu_set_t narrowed_{};  // as it was left here
};

}  // namespace attention
