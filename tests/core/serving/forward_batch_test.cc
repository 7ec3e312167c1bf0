// SPDX-License-Identifier: Apache-2.0
#include "core/serving/forward_batch.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "core/serving/executor.h"
#include "tests/core/serving/fake_caller.h"
#include "tests/testing/allocation_counter.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using testing::FakeCaller;
using testing::IsIdentical;
using testing::MakeSmallModule;
using testing::MakeTask;

using Caller = std::shared_ptr<FakeCaller>;
using Module = std::shared_ptr<const AttentionModule>;

// What the module answers a caller who comes alone.
Tensor Alone(const FakeCaller& caller, const Module& module) {
  ForwardTask::Work work = caller.MakeWork(module);
  Tensor output(caller.query.dtype(), caller.query.shape());
  ComputePool pool(1);
  EXPECT_TRUE(testing::Forward(module->implementation(caller.query.dtype()),
                               *work.request, {output.mutable_view(), {}}, pool)
                  .ok());
  return output;
}

class ForwardBatchTest : public ::testing::Test {
 protected:
  ForwardBatchTest() {
    for (const std::int64_t length : {3, 1, 70, 16, 2}) {
      callers_.push_back(std::make_shared<FakeCaller>(
          length, /*seed=*/static_cast<std::uint64_t>(length)));
    }
  }

  void Compute(ComputePool& pool) {
    TaskLines::Tasks tasks;
    for (const Caller& caller : callers_) {
      tasks.push_back(MakeTask(caller, module_));
    }
    (void)ComputeTogether(std::move(tasks), pool);
  }

  // Whether a caller has the answer it would have alone.
  void ExpectAnswered(const Caller& caller, std::uint32_t batch_size) {
    ASSERT_TRUE(caller->Outcome().ok());
    EXPECT_TRUE(
        IsIdentical(caller->output->view(), Alone(*caller, module_).view()));
    EXPECT_EQ(caller->measured.batch_size, batch_size);
  }

  const Module module_ = MakeSmallModule();
  std::vector<Caller> callers_;
};

TEST_F(ForwardBatchTest, ComputesEachAsItWouldBeAlone) {
  for (const std::size_t num_threads : {1U, 2U}) {
    ComputePool pool(num_threads);
    for (Caller& caller : callers_) {
      caller = std::make_shared<FakeCaller>(caller->query.shape().dims()[0]);
    }

    Compute(pool);

    for (const Caller& caller : callers_) ExpectAnswered(caller, 5);
  }
}

TEST_F(ForwardBatchTest, WhoFailsOrHasGoneFailsAlone) {
  callers_[0]->cancelled = true;
  callers_[2]->on_allocate = [] { throw std::bad_alloc(); };
  ComputePool pool(2);

  Compute(pool);

  EXPECT_EQ(callers_[0]->Outcome().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(callers_[2]->Outcome().code(),
            absl::StatusCode::kResourceExhausted);
  for (const std::size_t i : {1U, 3U, 4U}) ExpectAnswered(callers_[i], 3);
}

TEST_F(ForwardBatchTest, WhoCancelsMeanwhileHurtsNobody) {
  FakeCaller& second = *callers_[1];
  callers_[4]->on_allocate = [&second] { second.cancelled = true; };
  ComputePool pool(2);

  Compute(pool);

  EXPECT_EQ(second.Outcome().code(), absl::StatusCode::kCancelled);
  for (const std::size_t i : {0U, 2U, 3U, 4U}) ExpectAnswered(callers_[i], 5);
}

TEST_F(ForwardBatchTest, ComputesEachAloneWhereMemoryForAllIsMissing) {
  ComputePool pool(2);
  callers_[4]->on_allocate = [] {
    testing::AllocationCounter::FailNextHere(5 * sizeof(Sequence));
  };

  Compute(pool);

  for (const Caller& caller : callers_) ExpectAnswered(caller, 1);
}

TEST_F(ForwardBatchTest, ComputesEachAloneWhereScratchIsMoreThanTheReserve) {
  ComputePool pool(2, Pinning::kNone, {.lease_bytes = 0, .thread_bytes = 64});

  Compute(pool);

  for (const Caller& caller : callers_) ExpectAnswered(caller, 1);
}

// The large one's bits, and the small one's, which is answered first.
TEST(SmallTurnsTest, ASmallRequestComesBetweenTheItemsOfALargeOne) {
  for (const PathChoice path : {PathChoice::kAuto, PathChoice::kPrimitives}) {
    const Module module =
        AttentionModule::Create(
            {.name = "m", .version = 1, .weights_digest = ""},
            testing::SmallConfig(),
            testing::MakeWeights(testing::SmallConfig(), DataType::kFloat32,
                                 /*seed=*/1),
            path)
            .value();
    for (const std::size_t num_threads : {1U, 2U}) {
      const auto large = std::make_shared<FakeCaller>(4000);
      const auto small = std::make_shared<FakeCaller>(3);
      const auto half =
          std::make_shared<FakeCaller>(3, /*seed=*/1, DataType::kFloat16);
      std::vector<const FakeCaller*> order;
      Executor executor({.num_threads = num_threads});
      for (const Caller& caller : {large, small, half}) {
        caller->on_complete = [&order, caller = caller.get()] {
          order.push_back(caller);
        };
      }
      large->on_allocate = [&] {
        executor.Submit(MakeTask(small, module));
        executor.Submit(MakeTask(half, module));
      };

      executor.Submit(MakeTask(large, module));

      EXPECT_TRUE(large->Outcome().ok());
      ASSERT_EQ(order.size(), 3U);
      EXPECT_EQ(order.back(), large.get());
      for (const Caller& caller : {large, small, half}) {
        EXPECT_TRUE(
            IsIdentical(caller->output->view(), Alone(*caller, module).view()));
      }
    }
  }
}

}  // namespace
}  // namespace attention
