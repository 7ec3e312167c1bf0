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
  ComputeTogether(std::move(one), pool);
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
  // More than is computed on this thread.
  const auto running = std::make_shared<FakeCaller>(/*length=*/1000);
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

TEST(RequestQueueTest, WhoPushesASmallTaskToAnEmptyQueueComputesIt) {
  const auto module = MakeSmallModule();
  const auto first = std::make_shared<FakeCaller>();
  const auto second = std::make_shared<FakeCaller>();
  RequestQueue queue{BatchLimits()};

  const std::optional<RequestQueue::Turn> turn =
      queue.PushOrBegin(MakeTask(first, module), std::chrono::seconds(1));
  ASSERT_TRUE(turn);
  EXPECT_EQ(&turn->tasks.front()->caller(), first.get());
  EXPECT_FALSE(
      queue.PushOrBegin(MakeTask(second, module), std::chrono::seconds(1)))
      << "another is computed";

  std::optional<RequestQueue::Turn> taken;
  std::jthread taking([&] { taken = queue.Take(); });
  queue.Return(turn->line, std::chrono::nanoseconds(1), std::nullopt);
  taking.join();
  ASSERT_TRUE(taken);
  EXPECT_EQ(&taken->tasks.front()->caller(), second.get());
}

TEST(RequestQueueTest, ALargerTaskIsLeftToTheExecutor) {
  const auto caller = std::make_shared<FakeCaller>();
  RequestQueue queue{BatchLimits()};

  EXPECT_FALSE(
      queue.PushOrBegin(MakeTask(caller), std::chrono::nanoseconds(1)));

  EXPECT_TRUE(queue.Take());
}

TEST(RequestQueueTest, ATaskThatMayHaveCompanyIsLeftToTheExecutor) {
  const auto caller = std::make_shared<FakeCaller>();
  RequestQueue queue{BatchLimits{.max_delay = std::chrono::microseconds(1)}};

  EXPECT_FALSE(queue.PushOrBegin(MakeTask(caller), std::chrono::seconds(1)));

  const std::optional<RequestQueue::Turn> turn = queue.Take();
  ASSERT_TRUE(turn);
  EXPECT_EQ(turn->tasks.size(), 1U);
}

TEST(ExecutorTest, ASmallRequestIsComputedByWhoSubmitsItIfNothingElseIs) {
  Executor executor({.num_threads = 1});
  const auto caller = std::make_shared<FakeCaller>(/*length=*/1);
  std::thread::id computed_by;
  caller->on_allocate = [&] { computed_by = std::this_thread::get_id(); };

  executor.Submit(MakeTask(caller));

  EXPECT_TRUE(caller->Outcome().ok());
  EXPECT_EQ(computed_by, std::this_thread::get_id());
}

TEST(ExecutorTest, ThreadsThatArePinnedComputeAll) {
  Executor executor({.num_threads = 1, .pinning = Pinning::kPinned});
  const auto caller = std::make_shared<FakeCaller>(/*length=*/1);
  std::thread::id computed_by;
  caller->on_allocate = [&] { computed_by = std::this_thread::get_id(); };

  executor.Submit(MakeTask(caller));

  EXPECT_TRUE(caller->Outcome().ok());
  EXPECT_NE(computed_by, std::this_thread::get_id());
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
    task->Finish(absl::OkStatus(), ForwardTask::Clock::now());
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
