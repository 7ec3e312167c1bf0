// SPDX-License-Identifier: Apache-2.0
#include "server/modules/work_thread.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <vector>

namespace attention {
namespace {

TEST(WorkThreadTest, DoesWhatIsQueuedInOrder) {
  std::vector<int> done;
  {
    WorkThread thread(/*max_queued=*/10);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(thread.TryPost([&done, i] { done.push_back(i); }));
    }
  }

  EXPECT_EQ(done, (std::vector<int>{0, 1, 2}));
}

TEST(WorkThreadTest, RefusesMoreThanMayWait) {
  std::promise<void> started;
  std::promise<void> release;
  WorkThread thread(/*max_queued=*/1);
  ASSERT_TRUE(thread.TryPost([&] {
    started.set_value();
    release.get_future().wait();
  }));
  started.get_future().wait();

  EXPECT_TRUE(thread.TryPost([] {}));
  EXPECT_FALSE(thread.TryPost([] {}));
  release.set_value();
}

}  // namespace
}  // namespace attention
