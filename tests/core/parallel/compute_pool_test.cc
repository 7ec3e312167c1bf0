// SPDX-License-Identifier: Apache-2.0
#include "core/parallel/compute_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <xmmintrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/core/parallel/cpu_sets.h"

namespace attention {
namespace {

using testing::CpusOf;
using testing::OtherCpus;

TEST(ComputePoolTest, CallsEveryItemOnce) {
  for (const std::size_t num_threads : {1U, 2U, 5U}) {
    ComputePool pool(num_threads);
    for (const std::int64_t num_items : {0, 1, 2, 100}) {
      std::vector<std::atomic<int>> calls(static_cast<std::size_t>(num_items));
      pool.Run(num_items, [&](std::int64_t item, std::size_t thread) {
        EXPECT_LT(thread, num_threads);
        ++calls[static_cast<std::size_t>(item)];
      });
      for (const std::atomic<int>& count : calls) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ComputePoolTest, ManyShortRunsFollowEachOther) {
  ComputePool pool(3);
  std::int64_t total = 0;
  for (std::int64_t run = 0; run < 5000; ++run) {
    std::atomic<std::int64_t> sum = 0;
    pool.Run(run % 4, [&](std::int64_t item, std::size_t) { sum += item + 1; });
    total += sum;
  }
  EXPECT_EQ(total, 1250 * (0 + 1 + 3 + 6));
}

TEST(ComputePoolTest, OneThreadRunsItemsInOrderOnTheCaller) {
  ComputePool pool(1);
  std::vector<std::int64_t> items;
  pool.Run(4, [&](std::int64_t item, std::size_t thread) {
    EXPECT_EQ(thread, 0U);
    items.push_back(item);
  });
  EXPECT_EQ(items, (std::vector<std::int64_t>{0, 1, 2, 3}));
}

// An interlude due behind each of the caller's items, which runs others.
class CountingInterlude final : public ComputePool::Interlude {
 public:
  explicit CountingInterlude(ComputePool& pool) : pool_(pool) {}

  bool IsDue() override {
    ++num_due;
    return true;
  }
  void Play() override {
    ++num_played;
    found_items_under_way |= under_way != 0;
    pool_.Run(3, [this](std::int64_t, std::size_t) { ++num_items; });
  }

  std::atomic<int> under_way = 0;  // items of the call it interrupts
  bool found_items_under_way = false;
  int num_due = 0;
  int num_played = 0;
  std::atomic<int> num_items = 0;

 private:
  ComputePool& pool_;
};

TEST(ComputePoolTest, InterludesComeBetweenItems) {
  for (const std::size_t num_threads : {1U, 2U, 5U}) {
    ComputePool pool(num_threads);
    CountingInterlude interlude(pool);
    pool.SetInterlude(&interlude);
    std::array<std::atomic<int>, 100> calls = {};
    std::atomic<bool> caller_had_one = false;
    pool.Run(calls.size(), [&](std::int64_t item, std::size_t thread) {
      ++interlude.under_way;
      ++calls[static_cast<std::size_t>(item)];
      if (thread == 0) caller_had_one = true;
      while (!caller_had_one) std::this_thread::yield();
      for (int i = 0; i < 100; ++i) _mm_pause();  // as work would take
      --interlude.under_way;
    });
    pool.SetInterlude(nullptr);
    pool.Run(1, [](std::int64_t, std::size_t) {});

    for (const std::atomic<int>& count : calls) EXPECT_EQ(count, 1);
    EXPECT_FALSE(interlude.found_items_under_way);
    EXPECT_GE(interlude.num_played, 1) << "the caller's first item at least";
    EXPECT_EQ(interlude.num_played, interlude.num_due)
        << "none within an interlude";
    EXPECT_EQ(interlude.num_items, 3 * interlude.num_played);
    if (num_threads == 1) {
      EXPECT_EQ(interlude.num_played, 100);
    }
  }
}

// Whether the calling thread flushes denormals.
bool Flushes() {
  const volatile float denormal = 1e-40F;
  return denormal * 1.0F == 0.0F;
}

class FlushingInterlude final : public ComputePool::Interlude {
 public:
  bool IsDue() override { return true; }
  void Play() override { flushes = Flushes(); }

  bool flushes = true;
};

TEST(ComputePoolTest, InterludesHaveTheDefaultFloatingPointEnvironment) {
  ComputePool pool(1);
  FlushingInterlude interlude;
  pool.SetInterlude(&interlude);
  const unsigned control = _mm_getcsr();
  _mm_setcsr(control | 0x8040U);  // FTZ and DAZ
  std::vector<bool> items_flush;
  pool.Run(
      2, [&](std::int64_t, std::size_t) { items_flush.push_back(Flushes()); });
  _mm_setcsr(control);

  EXPECT_FALSE(interlude.flushes);
  EXPECT_EQ(items_flush, (std::vector<bool>{true, true}));
}

// The CPUs that a pool's threads may run on.
std::vector<cpu_set_t> CpusOfThreads(ComputePool& pool) {
  std::vector<cpu_set_t> cpus(pool.num_threads());
  std::atomic<std::size_t> arrived = 0;
  // Each item waits for the others: so each is another thread's.
  pool.Run(static_cast<std::int64_t>(cpus.size()),
           [&](std::int64_t, std::size_t thread) {
             cpus[thread] = CpusOf(0);
             ++arrived;
             while (arrived < cpus.size()) std::this_thread::yield();
           });
  return cpus;
}

TEST(ComputePoolTest, PinsItsThreadsWhenAskedTo) {
  const cpu_set_t allowed = CpusOf(0);
  ComputePool pool(3, Pinning::kPinned);
  const std::vector<cpu_set_t> cpus = CpusOfThreads(pool);
  EXPECT_TRUE(CPU_EQUAL(&cpus[0], &allowed)) << "the caller's own affair";
  EXPECT_EQ(CPU_COUNT(&cpus[1]), 1);
  EXPECT_EQ(CPU_COUNT(&cpus[2]), 1);
  EXPECT_EQ(CPU_EQUAL(&cpus[1], &cpus[2]) != 0, CPU_COUNT(&allowed) == 1);
}

std::set<pid_t> ThreadsOfThisProcess() {
  std::set<pid_t> threads;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/self/task")) {
    threads.insert(std::stoi(task.path().filename().string()));
  }
  return threads;
}

// What falling asleep does. That Run keeps sleepers off its CPU as well cannot
// be seen here: it wakes them.
TEST(ComputePoolTest, WorkersSleepOffTheCallersCpu) {
  const cpu_set_t allowed = CpusOf(0);
  std::thread([] {}).join();  // a sanitizer's own thread comes with the first
  const std::set<pid_t> before = ThreadsOfThisProcess();
  ComputePool pool(3);
  std::vector<pid_t> workers;
  std::ranges::set_difference(ThreadsOfThisProcess(), before,
                              std::back_inserter(workers));
  ASSERT_EQ(workers.size(), 2U);
  for (std::size_t index = 0; index < 4; ++index) {
    cpu_set_t others;
    std::thread caller([&] {
      PinThisThread(index);
      const std::vector<cpu_set_t> cpus = CpusOfThreads(pool);
      EXPECT_TRUE(CPU_EQUAL(&cpus[1], &allowed)) << "awake: anywhere";
      others = OtherCpus(allowed, cpus[0]);
    });
    caller.join();
    for (const pid_t worker : workers) {
      const auto give_up =
          std::chrono::steady_clock::now() + std::chrono::seconds(60);
      for (cpu_set_t now = CpusOf(worker); !CPU_EQUAL(&now, &others);
           now = CpusOf(worker)) {
        ASSERT_LT(std::chrono::steady_clock::now(), give_up)
            << "caller " << index;
        std::this_thread::yield();
      }
    }
  }
}

// Where Scratch(thread, num_bytes) lies in one Run.
const std::byte* ScratchOf(ComputePool& pool, std::size_t num_bytes) {
  const std::byte* found = nullptr;
  pool.Run(1, [&](std::int64_t, std::size_t thread) {
    found = pool.Scratch(thread, num_bytes);
  });
  return found;
}

TEST(ComputePoolTest, AThreadsScratchIsItsReserveIfThatIsEnough) {
  ComputePool pool(1, Pinning::kNone, {.lease_bytes = 0, .thread_bytes = 4096});
  const std::byte* reserved = ScratchOf(pool, 0);
  EXPECT_EQ(ScratchOf(pool, 4096), reserved);
  EXPECT_NE(ScratchOf(pool, 4097), reserved);
  EXPECT_EQ(ScratchOf(pool, 1), reserved);
}

TEST(ComputePoolTest, ThreadsHaveScratchOfTheirOwn) {
  ComputePool pool(2);
  std::array<std::byte*, 2> found = {};
  std::atomic<int> arrived = 0;
  pool.Run(2, [&](std::int64_t, std::size_t thread) {
    found[thread] = pool.Scratch(thread, 1000);
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_NE(found[0], nullptr);
  EXPECT_NE(found[1], nullptr);
  EXPECT_GE(std::abs(found[0] - found[1]), 1000);
}

TEST(ComputePoolTest, LeasesFollowOneAnotherInTheReserve) {
  ComputePool pool(1, Pinning::kNone, {.lease_bytes = 256, .thread_bytes = 0});
  const std::byte* first = nullptr;
  {
    ComputePool::Lease one(pool, 100);
    first = one.data();
    {
      ComputePool::Lease two(pool, 128);
      EXPECT_EQ(two.data(), first + 128) << "behind the first, aligned";
      ComputePool::Lease too_many(pool, 1);
      EXPECT_TRUE(too_many.data() < first || too_many.data() >= first + 256);
    }
    ComputePool::Lease again(pool, 64);
    EXPECT_EQ(again.data(), first + 128);
  }
  ComputePool::Lease all(pool, 256);
  EXPECT_EQ(all.data(), first);
}

}  // namespace
}  // namespace attention
