// SPDX-License-Identifier: Apache-2.0
#include "core/serving/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "core/serving/forward_batch.h"
#include "tests/core/serving/fake_caller.h"
#include "tests/testing/allocation_counter.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using testing::FakeCaller;
using testing::MakeSmallModule;
using testing::MakeTask;

// Compute a task alone and complete it.
void ComputeAlone(std::unique_ptr<ForwardTask> task, ComputePool& pool) {
  TaskLines::Tasks one;
  one.push_back(std::move(task));
  (void)ComputeTogether(std::move(one), pool);
}

TEST(ExecutorTest, ComputesWhatTheModuleComputes) {
  const auto caller = std::make_shared<FakeCaller>();
  ForwardTask::Work work = caller->MakeWork(MakeSmallModule());
  ComputePool pool(1);
  Tensor want(DataType::kFloat32, {3, 1, 8});
  ASSERT_TRUE(testing::Forward(work.module->implementation(DataType::kFloat32),
                               *work.request,
                               {want.mutable_view(), std::nullopt}, pool)
                  .ok());
  Executor executor({.num_threads = 2});

  executor.Submit(std::make_unique<ForwardTask>(std::move(work), caller));

  ASSERT_TRUE(caller->Outcome().ok());
  EXPECT_TRUE(testing::IsIdentical(caller->output->view(), want.view()));
}

TEST(ExecutorTest, ARequestCancelledWhileItIsComputedIsNotAnswered) {
  Executor executor({.num_threads = 2});
  const auto caller = std::make_shared<FakeCaller>();
  FakeCaller& fake = *caller;
  caller->on_allocate = [&fake] { fake.cancelled = true; };

  executor.Submit(MakeTask(caller));

  EXPECT_EQ(caller->Outcome().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(caller->allocated);
}

TEST(ExecutorTest, ARequestWhoseDeadlinePassesWhileItIsComputedIsNotAnswered) {
  Executor executor({.num_threads = 2});
  const std::shared_ptr<const AttentionModule> module = MakeSmallModule();
  bool is_computed = false;
  // A deadline that has passed before the computation begins proves nothing:
  // then once more with a later one.
  for (std::chrono::microseconds wait(100);
       !is_computed && wait < std::chrono::minutes(1); wait *= 2) {
    const auto caller = std::make_shared<FakeCaller>();
    ForwardTask::Work work = caller->MakeWork(module);
    const auto deadline = ForwardTask::Clock::now() + wait;
    work.deadline = deadline;
    caller->on_allocate = [deadline] {
      while (ForwardTask::Clock::now() < deadline) std::this_thread::yield();
    };

    executor.Submit(std::make_unique<ForwardTask>(std::move(work), caller));

    ASSERT_EQ(caller->Outcome().code(), absl::StatusCode::kDeadlineExceeded);
    is_computed = caller->allocated;
  }
  EXPECT_TRUE(is_computed);
}

TEST(ExecutorTest, CompletesInOrderOfSubmission) {
  Executor executor({.num_threads = 1});
  std::vector<int> order;
  std::vector<std::shared_ptr<FakeCaller>> callers;
  const std::shared_ptr<const AttentionModule> module = MakeSmallModule();
  for (int i = 0; i < 8; ++i) {
    callers.push_back(std::make_shared<FakeCaller>());
    callers.back()->on_complete = [&order, i] { order.push_back(i); };
    executor.Submit(MakeTask(callers.back(), module));
  }

  EXPECT_TRUE(callers.back()->Outcome().ok());

  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(ExecutorTest, FailsWhatIsQueuedWhenItStops) {
  const auto running = std::make_shared<FakeCaller>();
  const auto queued = std::make_shared<FakeCaller>();
  std::promise<void> started;
  std::promise<void> release;
  running->on_allocate = [&] {
    started.set_value();
    release.get_future().wait();
  };
  auto executor =
      std::make_unique<Executor>(Executor::Options{.num_threads = 1});
  executor->Submit(MakeTask(running));
  started.get_future().wait();
  executor->Submit(MakeTask(queued));

  std::jthread stopping([&executor] { executor.reset(); });
  const absl::Status status = queued->Outcome();
  release.set_value();
  // ThreadSanitizer does not see who lets go of the status last.
  stopping.join();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(running->Outcome().ok());
}

TEST(RequestQueueTest, FailsTasksOnceClosed) {
  const auto caller = std::make_shared<FakeCaller>();
  RequestQueue queue{BatchLimits()};
  queue.Close();

  queue.Push(MakeTask(caller));

  EXPECT_EQ(caller->Outcome().code(), absl::StatusCode::kUnavailable);
}

TEST(RequestQueueTest, DropsTheTaskOfACallerThatCancelled) {
  const auto first = std::make_shared<FakeCaller>();
  const auto second = std::make_shared<FakeCaller>();
  const auto third = std::make_shared<FakeCaller>();
  RequestQueue queue{BatchLimits()};
  for (const auto& caller : {first, second, third}) {
    queue.Push(MakeTask(caller));
  }

  second->cancelled = true;
  queue.DropCancelled(*second);

  EXPECT_EQ(second->Outcome().code(), absl::StatusCode::kCancelled);
  const std::shared_ptr<FakeCaller> left[] = {first, third};
  for (const auto& caller : left) {
    const std::optional<RequestQueue::Turn> turn = queue.Take();
    EXPECT_EQ(&turn->tasks.front()->caller(), caller.get());
    queue.Return(turn->line, std::chrono::nanoseconds(1), std::nullopt);
  }
}

TEST(RequestQueueTest, DoesNotQueueForACallerThatHasCancelled) {
  const auto caller = std::make_shared<FakeCaller>();
  RequestQueue queue{BatchLimits()};
  caller->cancelled = true;
  queue.DropCancelled(*caller);

  queue.Push(MakeTask(caller));

  EXPECT_EQ(caller->Outcome().code(), absl::StatusCode::kCancelled);
}

TEST(RequestQueueTest, FailsATaskThereIsNoMemoryToQueue) {
  const auto caller = std::make_shared<FakeCaller>();
  std::unique_ptr<ForwardTask> task = MakeTask(caller);
  RequestQueue queue{BatchLimits()};

  testing::AllocationCounter::FailNextHere();
  queue.Push(std::move(task));

  EXPECT_EQ(caller->Outcome().code(), absl::StatusCode::kResourceExhausted);
}

// A queue that knows what the module takes.
class TaughtQueueTest : public ::testing::Test {
 protected:
  explicit TaughtQueueTest(const BatchLimits& limits = {}) : queue_(limits) {
    const auto caller = std::make_shared<FakeCaller>();
    queue_.Push(MakeTask(caller, module_));
    const std::optional<RequestQueue::Turn> turn = queue_.Take();
    queue_.Return(turn->line, std::chrono::microseconds(10),
                  ComputedWork{.size = turn->tasks.front()->size()});
  }

  std::optional<RequestQueue::Turn> Push(
      const std::shared_ptr<FakeCaller>& caller,
      std::chrono::nanoseconds at_most = std::chrono::seconds(1)) {
    return queue_.PushOrBegin(MakeTask(caller, module_), at_most);
  }

  const std::shared_ptr<const AttentionModule> module_ = MakeSmallModule();
  RequestQueue queue_;
};

TEST_F(TaughtQueueTest, WhoPushesASmallTaskWithNothingElseThereComputesIt) {
  const auto first = std::make_shared<FakeCaller>();
  const auto second = std::make_shared<FakeCaller>();

  const std::optional<RequestQueue::Turn> turn = Push(first);
  ASSERT_TRUE(turn);
  EXPECT_EQ(&turn->tasks.front()->caller(), first.get());
  EXPECT_FALSE(Push(second)) << "another is computed";

  std::optional<RequestQueue::Turn> taken;
  std::jthread taking([&] { taken = queue_.Take(); });
  queue_.Return(turn->line, std::chrono::nanoseconds(1), std::nullopt);
  taking.join();
  ASSERT_TRUE(taken);
  EXPECT_EQ(&taken->tasks.front()->caller(), second.get());
}

TEST_F(TaughtQueueTest, ALargerTaskIsLeftToTheExecutor) {
  const auto caller = std::make_shared<FakeCaller>();

  EXPECT_FALSE(Push(caller, std::chrono::nanoseconds(1)));

  EXPECT_TRUE(queue_.Take());
}

TEST_F(TaughtQueueTest, ATaskOfAModuleNothingIsKnownOfIsLeftToTheExecutor) {
  const auto caller = std::make_shared<FakeCaller>();

  EXPECT_FALSE(queue_.PushOrBegin(MakeTask(caller), std::chrono::seconds(1)));

  EXPECT_TRUE(queue_.Take());
}

class DelayedTaughtQueueTest : public TaughtQueueTest {
 protected:
  DelayedTaughtQueueTest()
      : TaughtQueueTest({.max_delay = std::chrono::microseconds(1)}) {}
};

TEST_F(DelayedTaughtQueueTest, ATaskThatMayHaveCompanyIsLeftToTheExecutor) {
  // Behind a moment that the delay may have passed in, once more.
  for (int i = 0; i < 3; ++i) {
    const auto caller = std::make_shared<FakeCaller>();
    std::optional<RequestQueue::Turn> turn = Push(caller);
    if (!turn) turn = queue_.Take();
    ASSERT_TRUE(turn);
    EXPECT_EQ(&turn->tasks.front()->caller(), caller.get());
    queue_.Return(turn->line, std::chrono::nanoseconds(1), std::nullopt);
  }
}

TEST(ExecutorTest, ASmallRequestIsComputedByWhoSubmitsItIfNothingElseIs) {
  Executor executor({.num_threads = 1, .tiny_time = std::chrono::hours(1)});
  const auto module = MakeSmallModule();
  std::thread::id computed_by;
  // The first teaches what they take; the executor may not have ended a turn
  // yet when its caller knows.
  while (computed_by != std::this_thread::get_id()) {
    const auto caller = std::make_shared<FakeCaller>(/*length=*/1);
    caller->on_allocate = [&] { computed_by = std::this_thread::get_id(); };
    executor.ComputeOrSubmit(MakeTask(caller, module));
    ASSERT_TRUE(caller->Outcome().ok());
  }
}

TEST(ExecutorTest, ThreadsThatArePinnedComputeAll) {
  Executor executor({.num_threads = 1,
                     .pinning = Pinning::kPinned,
                     .tiny_time = std::chrono::hours(1)});
  const auto module = MakeSmallModule();
  for (int i = 0; i < 20; ++i) {
    const auto caller = std::make_shared<FakeCaller>(/*length=*/1);
    std::thread::id computed_by;
    caller->on_allocate = [&] { computed_by = std::this_thread::get_id(); };
    executor.ComputeOrSubmit(MakeTask(caller, module));
    ASSERT_TRUE(caller->Outcome().ok());
    EXPECT_NE(computed_by, std::this_thread::get_id());
  }
}

TEST_F(TaughtQueueTest, ClosingWaitsForWhatAPusherComputes) {
  const auto caller = std::make_shared<FakeCaller>();
  const std::optional<RequestQueue::Turn> turn = Push(caller);
  ASSERT_TRUE(turn);
  std::atomic<bool> returned = false;

  std::jthread closing([&] {
    queue_.Close();
    EXPECT_TRUE(returned);
  });
  const auto late = std::make_shared<FakeCaller>();
  queue_.Push(MakeTask(late, module_));
  returned = true;
  queue_.Return(turn->line, std::chrono::nanoseconds(1), std::nullopt);
  closing.join();

  EXPECT_EQ(late->Outcome().code(), absl::StatusCode::kUnavailable);
}

TEST(RequestQueueTest, LeavesATaskThatWasTakenToItsTaker) {
  const auto caller = std::make_shared<FakeCaller>();
  RequestQueue queue{BatchLimits()};
  queue.Push(MakeTask(caller));
  const std::optional<RequestQueue::Turn> turn = queue.Take();

  queue.DropCancelled(*caller);

  EXPECT_EQ(caller->num_completions, 0);
}

TEST(ExecutorTest, CompletesOnceHoweverCancellationAndComputationMeet) {
  constexpr int kCallers = 500;
  std::vector<std::shared_ptr<FakeCaller>> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.push_back(std::make_shared<FakeCaller>());
  }
  const std::shared_ptr<const AttentionModule> module = MakeSmallModule();
  {
    Executor executor({.num_threads = 1});
    std::atomic<int> num_submitted = 0;
    const std::jthread cancelling([&] {
      for (int i = 0; i < kCallers; ++i) {
        // About when it is submitted: before, queued, computed or done.
        while (num_submitted < i - i % 8) std::this_thread::yield();
        callers[i]->cancelled = true;
        executor.DropCancelled(*callers[i]);
      }
    });
    for (const auto& caller : callers) {
      executor.Submit(
          std::make_unique<ForwardTask>(caller->MakeWork(module), caller));
      ++num_submitted;
    }
  }

  for (const auto& caller : callers) EXPECT_EQ(caller->num_completions, 1);
}

TEST(ForwardTaskTest, DoesNotComputeWhatWasCancelled) {
  const auto caller = std::make_shared<FakeCaller>();
  caller->cancelled = true;
  ComputePool pool(1);

  ComputeAlone(MakeTask(caller), pool);

  EXPECT_EQ(caller->Outcome().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(caller->allocated);
}

TEST(ForwardTaskTest, DoesNotComputeWhatIsPastItsDeadline) {
  const auto caller = std::make_shared<FakeCaller>();
  ForwardTask::Work work = caller->MakeWork(MakeSmallModule());
  work.deadline = ForwardTask::Clock::now() - std::chrono::nanoseconds(1);
  ComputePool pool(1);

  ComputeAlone(std::make_unique<ForwardTask>(std::move(work), caller), pool);

  EXPECT_EQ(caller->Outcome().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(caller->allocated);
}

TEST(ForwardTaskTest, ReportsExhaustedMemory) {
  const auto caller = std::make_shared<FakeCaller>();
  caller->on_allocate = [] { throw std::bad_alloc(); };
  ComputePool pool(1);

  ComputeAlone(MakeTask(caller), pool);

  EXPECT_EQ(caller->Outcome().code(), absl::StatusCode::kResourceExhausted);
}

TEST(ForwardTaskTest, CompletesWhenItIsDropped) {
  const auto caller = std::make_shared<FakeCaller>();

  MakeTask(caller).reset();

  EXPECT_EQ(caller->Outcome().code(), absl::StatusCode::kCancelled);
}

TEST(ForwardTaskTest, CompletesOnce) {
  const auto caller = std::make_shared<FakeCaller>();

  {
    const std::unique_ptr<ForwardTask> task = MakeTask(caller);
    ASSERT_TRUE(task->Begin(ForwardTask::Clock::now()));
    task->Start(/*batch_size=*/1);
    EXPECT_TRUE(task->Finish(absl::OkStatus(), ForwardTask::Clock::now()));
    task->Fail(absl::InternalError("late"));
  }

  EXPECT_EQ(caller->num_completions, 1);
  EXPECT_TRUE(caller->Outcome().ok());
}

TEST(ForwardTaskTest, ReleasesTheModuleBeforeItCompletes) {
  const auto caller = std::make_shared<FakeCaller>();
  const std::shared_ptr<const AttentionModule> module = MakeSmallModule();
  ComputePool pool(1);

  ComputeAlone(MakeTask(caller, module), pool);

  EXPECT_EQ(module.use_count(), 1);
}

}  // namespace
}  // namespace attention
