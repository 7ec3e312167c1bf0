// SPDX-License-Identifier: Apache-2.0
#include "core/parallel/cpu_affinity.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstddef>
#include <latch>
#include <thread>
#include <vector>

#include "tests/core/parallel/cpu_sets.h"

namespace attention {
namespace {

using testing::CpusOf;
using testing::OtherCpus;

bool Equal(const cpu_set_t& a, const cpu_set_t& b) {
  return CPU_EQUAL(&a, &b) != 0;
}

// The first and the last of the CPUs this process may run on.
std::vector<int> TwoCpus() {
  const cpu_set_t allowed = CpusOf(0);
  std::vector<int> found;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) {
      found.push_back(cpu);
    }
  }
  return {found.front(), found.back()};
}

cpu_set_t SetOf(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(cpu), &one);
  return one;
}

// A thread that is asleep in the eyes of a SleepAffinity until WakeUp().
class SleepingThread {
 public:
  explicit SleepingThread(int cpu)
      : thread_([this, cpu] {
          id_ = gettid();
          affinity_.FallAsleep(cpu);
          asleep_.count_down();
          woken_.wait();
          affinity_.WakeUp();
          awake_.count_down();
          done_.wait();
        }) {
    asleep_.wait();
  }
  ~SleepingThread() {
    done_.count_down();
    thread_.join();
  }
  SleepingThread(const SleepingThread&) = delete;
  SleepingThread& operator=(const SleepingThread&) = delete;

  void WakeUp() {
    woken_.count_down();
    awake_.wait();
  }
  SleepAffinity& affinity() { return affinity_; }
  pid_t id() const { return id_; }
  cpu_set_t cpus() const { return CpusOf(id_); }

 private:
  SleepAffinity affinity_;
  pid_t id_ = 0;
  std::latch asleep_{1}, woken_{1}, awake_{1}, done_{1};
  std::thread thread_;
};

TEST(SleepAffinityTest, KeepsASleeperOffOneCpu) {
  const cpu_set_t allowed = CpusOf(0);
  for (const int cpu : TwoCpus()) {
    SleepingThread sleeper(cpu);
    EXPECT_TRUE(Equal(sleeper.cpus(), OtherCpus(allowed, SetOf(cpu))));
    sleeper.WakeUp();
    EXPECT_TRUE(Equal(sleeper.cpus(), allowed));
  }
}

TEST(SleepAffinityTest, TheCpuMayChangeWhileAThreadSleeps) {
  const cpu_set_t allowed = CpusOf(0);
  SleepingThread sleeper(/*cpu=*/-1);
  EXPECT_TRUE(Equal(sleeper.cpus(), allowed));
  for (const int cpu : TwoCpus()) {
    sleeper.affinity().KeepOff(cpu);
    EXPECT_TRUE(Equal(sleeper.cpus(), OtherCpus(allowed, SetOf(cpu))));
  }
  sleeper.affinity().KeepOff(-1);
  EXPECT_TRUE(Equal(sleeper.cpus(), allowed));
  sleeper.affinity().KeepOff(TwoCpus().front());
  sleeper.WakeUp();
  EXPECT_TRUE(Equal(sleeper.cpus(), allowed));
}

TEST(SleepAffinityTest, LeavesAThreadThatIsAwakeAlone) {
  const cpu_set_t allowed = CpusOf(0);
  SleepingThread sleeper(TwoCpus().front());
  sleeper.WakeUp();
  sleeper.affinity().KeepOff(TwoCpus().back());
  EXPECT_TRUE(Equal(sleeper.cpus(), allowed));
}

TEST(SleepAffinityTest, KeepsWhatOthersSetMeanwhile) {
  const cpu_set_t last = SetOf(TwoCpus().back());
  SleepingThread sleeper(TwoCpus().back());
  EXPECT_EQ(sched_setaffinity(sleeper.id(), sizeof(last), &last), 0);
  sleeper.affinity().KeepOff(TwoCpus().back());
  EXPECT_TRUE(Equal(sleeper.cpus(), last));
  sleeper.WakeUp();
  EXPECT_TRUE(Equal(sleeper.cpus(), last));
}

}  // namespace
}  // namespace attention
