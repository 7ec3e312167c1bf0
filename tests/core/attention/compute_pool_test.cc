// SPDX-License-Identifier: Apache-2.0
#include "core/attention/compute_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

namespace attention {
namespace {

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

// CPUs the calling thread may run on.
int AllowedCpus() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  EXPECT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  return CPU_COUNT(&allowed);
}

TEST(ComputePoolTest, PinsItsThreadsWhenAskedTo) {
  const int allowed = AllowedCpus();
  for (const Pinning pinning : {Pinning::kNone, Pinning::kPinned}) {
    ComputePool pool(3, pinning);
    std::array<std::atomic<int>, 3> cpus = {};
    std::atomic<int> arrived = 0;
    // Each item waits for the others: so each is another thread's.
    pool.Run(3, [&](std::int64_t, std::size_t thread) {
      cpus[thread] = AllowedCpus();
      ++arrived;
      while (arrived < 3) std::this_thread::yield();
    });
    EXPECT_EQ(cpus[0], allowed) << "the caller's own affair";
    for (const std::size_t thread : {1U, 2U}) {
      EXPECT_EQ(cpus[thread], pinning == Pinning::kPinned ? 1 : allowed);
    }
  }
}

TEST(ComputePoolTest, KeepsLittleScratch) {
  ComputePool pool(1);
  const std::byte* scratch = pool.Scratch(0, 1000);
  pool.TrimScratch();
  EXPECT_EQ(pool.Scratch(0, 500), scratch);
}

TEST(ComputePoolTest, StopsWhenItsConditionSaysSo) {
  ComputePool pool(1);
  EXPECT_FALSE(pool.StopRequested());
  bool stop = false;
  pool.SetStop([&stop] { return stop; });
  EXPECT_FALSE(pool.StopRequested());
  stop = true;
  EXPECT_TRUE(pool.StopRequested());
  pool.SetStop({});
  EXPECT_FALSE(pool.StopRequested());
}

}  // namespace
}  // namespace attention
