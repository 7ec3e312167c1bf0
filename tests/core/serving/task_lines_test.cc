// SPDX-License-Identifier: Apache-2.0
#include "core/serving/task_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tests/core/serving/fake_caller.h"

namespace attention {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using testing::FakeCaller;
using testing::MakeSmallModule;
using testing::MakeTask;

using Module = std::shared_ptr<const AttentionModule>;
using Callers = std::vector<const ForwardTask::Caller*>;

// Lines whose time is what a test says.
class TaskLinesTest : public ::testing::Test {
 protected:
  // Queue a request of so many tokens; return who asks.
  const ForwardTask::Caller* Append(const Module& module, std::int64_t length,
                                    DataType dtype = DataType::kFloat32) {
    const auto caller = std::make_shared<FakeCaller>(length, /*seed=*/1, dtype);
    std::unique_ptr<ForwardTask> task = MakeTask(caller, module);
    created_ = task->created();
    lines_.Append(task);
    EXPECT_EQ(task, nullptr);
    return caller.get();
  }

  static Callers CallersOf(const std::optional<TaskLines::Turn>& turn) {
    Callers callers;
    if (!turn) return callers;
    for (const auto& task : turn->tasks) callers.push_back(&task->caller());
    return callers;
  }

  // Begin a turn and end it after `took`.
  Callers TurnOf(nanoseconds took) {
    std::optional<TaskLines::Turn> turn = lines_.Take(now());
    const Callers callers = CallersOf(turn);
    if (turn) lines_.Return(turn->line, took);
    return callers;
  }

  // When the last request came.
  [[nodiscard]] ForwardTask::Clock::time_point now() const { return created_; }

  const Module a_ = MakeSmallModule();
  const Module b_ = MakeSmallModule();
  CostModels costs_;
  TaskLines lines_{BatchLimits{.max_tokens = 8}, costs_};

 private:
  ForwardTask::Clock::time_point created_;
};

TEST_F(TaskLinesTest, TakesTogetherWhatFits) {
  const auto* one = Append(a_, 3);
  const auto* two = Append(a_, 5);
  const auto* three = Append(a_, 1);

  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(one, two));
  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(three));
  EXPECT_FALSE(lines_.Take(now()));
}

TEST_F(TaskLinesTest, BoundsTheProductsOfQueriesAndKeysToo) {
  const BatchLimits limits{.max_tokens = 2048};
  EXPECT_TRUE(limits.Fits({.tokens = 2048, .pairs = 2048 * 1024}));
  EXPECT_FALSE(limits.Fits({.tokens = 2048, .pairs = 2048 * 1024 + 1}));
  EXPECT_FALSE(limits.Fits({.tokens = 2049, .pairs = 1}));
}

TEST_F(TaskLinesTest, ALargerRequestIsComputedAlone) {
  const auto* large = Append(a_, 9);
  const auto* as_large = Append(a_, 100);

  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(large));
  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(as_large));
}

TEST_F(TaskLinesTest, WhatIsComputedInDoubleIsComputedAlone) {
  const auto* single = Append(a_, 1);
  const auto* exact = Append(a_, 1, DataType::kFloat64);
  const auto* half = Append(a_, 1, DataType::kFloat16);
  const auto* again = Append(a_, 1, DataType::kFloat64);

  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(single, half));
  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(exact));
  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(again));
}

TEST_F(TaskLinesTest, TheLineThatWasComputedForLessTimeIsNext) {
  std::vector<const ForwardTask::Caller*> of_a;
  for (int i = 0; i < 3; ++i) of_a.push_back(Append(a_, 8));
  std::vector<const ForwardTask::Caller*> of_b;
  for (int i = 0; i < 3; ++i) of_b.push_back(Append(b_, 8));

  EXPECT_THAT(TurnOf(nanoseconds(50)), ElementsAre(of_a[0])) << "came first";
  EXPECT_THAT(TurnOf(nanoseconds(20)), ElementsAre(of_b[0]));
  EXPECT_THAT(TurnOf(nanoseconds(20)), ElementsAre(of_b[1]));
  EXPECT_THAT(TurnOf(nanoseconds(20)), ElementsAre(of_b[2]));
  EXPECT_THAT(TurnOf(nanoseconds(50)), ElementsAre(of_a[1]));
}

TEST_F(TaskLinesTest, ALineIsNotOwedForTheTimeItWasEmpty) {
  Callers of_a;
  for (int i = 0; i < 4; ++i) of_a.push_back(Append(a_, 8));
  EXPECT_THAT(TurnOf(nanoseconds(1000)), ElementsAre(of_a[0]));
  const auto* second = Append(b_, 8);  // counts from 1000, as a does now
  const auto* third = Append(b_, 8);

  EXPECT_THAT(TurnOf(nanoseconds(1000)), ElementsAre(of_a[1])) << "came first";
  EXPECT_THAT(TurnOf(nanoseconds(1500)), ElementsAre(second));
  EXPECT_THAT(TurnOf(nanoseconds(1000)), ElementsAre(of_a[2]));
  EXPECT_THAT(TurnOf(nanoseconds(1000)), ElementsAre(third));
}

TEST_F(TaskLinesTest, SmallOnesAreNotChargedForATurnThatWasBeforeThem) {
  Append(a_, 9);
  Append(b_, 9);
  const std::optional<TaskLines::Turn> of_a = lines_.Take(now());
  const auto* small = Append(a_, 1);
  const std::optional<TaskLines::Turn> between =
      lines_.TakeSmall(now(), nanoseconds(1));
  ASSERT_THAT(CallersOf(between), ElementsAre(small));
  lines_.Return(between->line, nanoseconds(5000));
  lines_.Return(of_a->line, nanoseconds(9000));
  const std::optional<TaskLines::Turn> of_b = lines_.Take(now());
  ASSERT_TRUE(of_b && of_b->line.is_large);
  ASSERT_EQ(of_b->served, nanoseconds(0));

  const auto* late = Append(b_, 1);

  EXPECT_TRUE(lines_.HasSmall(nanoseconds(1)));
  EXPECT_THAT(CallersOf(lines_.TakeSmall(now(), nanoseconds(1))),
              ElementsAre(late));
}

TEST_F(TaskLinesTest, ALineInItsTurnIsChargedOnce) {
  Append(a_, 9);
  const std::optional<TaskLines::Turn> of_a = lines_.Take(now());
  const auto* small = Append(b_, 1);
  const std::optional<TaskLines::Turn> of_b =
      lines_.TakeSmall(now(), nanoseconds(1));
  ASSERT_THAT(CallersOf(of_b), ElementsAre(small));
  lines_.Return(of_b->line, nanoseconds(500));
  const auto* b_again = Append(b_, 1);
  const auto* a_again = Append(a_, 9);
  lines_.Return(of_a->line, nanoseconds(400));

  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(a_again));
  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(b_again));
}

TEST_F(TaskLinesTest, ALineDoesNotGainByComingAnew) {
  Append(a_, 8);
  Append(b_, 8);
  const auto* b_again = Append(b_, 8);
  EXPECT_EQ(TurnOf(nanoseconds(1000)).size(), 1U) << "a's, which is empty now";
  const auto* a_again = Append(a_, 8);

  EXPECT_EQ(TurnOf(nanoseconds(100)).size(), 1U) << "b's";
  EXPECT_THAT(TurnOf(nanoseconds(100)), ElementsAre(b_again));
  EXPECT_THAT(TurnOf(nanoseconds(100)), ElementsAre(a_again));
}

TEST_F(TaskLinesTest, SmallRequestsComeInBetweenUntilTheyHaveHadAsMuchTime) {
  Append(a_, 9);
  const std::optional<TaskLines::Turn> large = lines_.Take(now());
  ASSERT_TRUE(large && large->line.is_large);
  const auto* small = Append(a_, 2);
  Append(b_, 9);
  EXPECT_FALSE(lines_.TakeSmall(now(), nanoseconds(0)));

  const std::optional<TaskLines::Turn> first =
      lines_.TakeSmall(now(), nanoseconds(1));
  EXPECT_THAT(CallersOf(first), ElementsAre(small));
  lines_.Return(first->line, nanoseconds(500));
  const auto* again = Append(a_, 2);
  EXPECT_FALSE(lines_.TakeSmall(now(), nanoseconds(500)));
  const std::optional<TaskLines::Turn> next =
      lines_.TakeSmall(now(), nanoseconds(501));
  EXPECT_THAT(CallersOf(next), ElementsAre(again));
  lines_.Return(next->line, nanoseconds(1));
  lines_.Return(large->line, nanoseconds(1000));

  EXPECT_EQ(TurnOf(nanoseconds(1)).size(), 1U) << "b's, which is large";
}

class DelayedTaskLinesTest : public TaskLinesTest {
 protected:
  DelayedTaskLinesTest() : delayed_(limits_, costs_) {}

  std::shared_ptr<FakeCaller> Append(std::int64_t length) {
    auto caller = std::make_shared<FakeCaller>(length);
    std::unique_ptr<ForwardTask> task = MakeTask(caller, a_);
    created_ = task->created();
    delayed_.Append(task);
    return caller;
  }

  const BatchLimits limits_ = {.max_tokens = 8, .max_delay = microseconds(10)};
  TaskLines delayed_;
  ForwardTask::Clock::time_point created_;
};

TEST_F(DelayedTaskLinesTest, TheFirstWaitsForCompanyAsLongAsTheLimitsSay) {
  EXPECT_EQ(delayed_.NextReady(), ForwardTask::Clock::time_point::max());
  const auto caller = Append(2);
  const auto ready = created_ + limits_.max_delay;

  EXPECT_EQ(delayed_.NextReady(), ready);
  EXPECT_FALSE(delayed_.Take(ready - nanoseconds(1)));
  EXPECT_THAT(CallersOf(delayed_.Take(ready)), ElementsAre(caller.get()));
}

TEST_F(DelayedTaskLinesTest, WhatMakesABatchDoesNotWait) {
  const auto one = Append(7);
  EXPECT_FALSE(delayed_.Take(created_));
  const auto two = Append(1);

  EXPECT_THAT(CallersOf(delayed_.Take(created_)),
              ElementsAre(one.get(), two.get()));
}

TEST_F(DelayedTaskLinesTest, ALargeRequestDoesNotWait) {
  const auto large = Append(9);

  EXPECT_THAT(CallersOf(delayed_.Take(created_)), ElementsAre(large.get()));
}

TEST_F(TaskLinesTest, WhatIsRemovedIsNotTaken) {
  const auto* one = Append(a_, 7);
  const auto* two = Append(a_, 1);
  const auto* three = Append(a_, 7);

  EXPECT_EQ(&lines_.Remove(*one)->caller(), one);
  EXPECT_EQ(lines_.Remove(*one), nullptr);

  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(two, three));
}

TEST_F(TaskLinesTest, GivesBackAll) {
  Append(a_, 1);
  Append(a_, 9);
  Append(b_, 1);

  EXPECT_EQ(lines_.RemoveAll().size(), 3U);
  EXPECT_FALSE(lines_.Take(now()));
}

class TimedTaskLinesTest : public TaskLinesTest {
 protected:
  // Have requests of module a take so long.
  void Learn(ForwardTask::Size size, nanoseconds time) {
    CostModel& cost = costs_.Of(*MakeTask(std::make_shared<FakeCaller>(), a_));
    for (int i = 0; i < 1000; ++i) cost.Learn(size, time);
  }
};

TEST_F(TimedTaskLinesTest, TakesTogetherNoMoreThanTakesTenMilliseconds) {
  const auto* one = Append(a_, 3);
  const auto* two = Append(a_, 3);
  Learn({.tokens = 3000, .pairs = 0}, std::chrono::seconds(6));

  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(one));
  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(two));
}

TEST_F(TimedTaskLinesTest, TakesTogetherWhatTakesLongWhateverIsInIt) {
  const auto* one = Append(a_, 3);
  const auto* two = Append(a_, 3);
  Learn({.tokens = 0, .pairs = 0}, std::chrono::milliseconds(50));

  EXPECT_THAT(TurnOf(nanoseconds(1)), ElementsAre(one, two));
}

// Every batch takes 1 ms, whatever is in it.
class ExpectedWaitTest : public TaskLinesTest {
 protected:
  // Let the costs know a module, and return the line of its requests.
  TaskLines::Key Know(const Module& module, std::int64_t length) {
    const auto task = MakeTask(std::make_shared<FakeCaller>(length), module);
    CostModel& cost = costs_.Of(*task);
    for (int i = 0; i < 1000; ++i) {
      cost.Learn({.tokens = 1, .pairs = 1}, kBatch);
      cost.Learn({.tokens = 100, .pairs = 100}, kBatch);
    }
    return lines_.LineOf(*task);
  }

  // In batches.
  [[nodiscard]] double Wait(const TaskLines::Key& line,
                            nanoseconds later = nanoseconds(0)) const {
    return static_cast<double>(
               lines_.ExpectedWait(line, now() + later).count()) /
           static_cast<double>(kBatch.count());
  }

  static constexpr nanoseconds kBatch = std::chrono::milliseconds(1);
  const TaskLines::Key small_a_ = Know(a_, 1);
  const TaskLines::Key large_a_ = Know(a_, 9);
  const TaskLines::Key small_b_ = Know(b_, 1);
};

TEST_F(ExpectedWaitTest, ThereIsNoneBehindNothing) {
  EXPECT_EQ(lines_.ExpectedWait(small_a_, now()), nanoseconds(0));
  EXPECT_EQ(lines_.PredictedTime(now()), nanoseconds(0));
}

TEST_F(ExpectedWaitTest, IsThatOfTheBatchesAhead) {
  for (int i = 0; i < 20; ++i) Append(a_, 4);  // two in a batch
  EXPECT_NEAR(Wait(small_a_), 11, 0.5);
  for (int i = 0; i < 3; ++i) Append(a_, 9);
  EXPECT_NEAR(Wait(large_a_), 3 + 3, 0.5) << "in turns with small ones";
}

TEST_F(ExpectedWaitTest, ALineIsNotChargedForTheFloodOfAnother) {
  for (int i = 0; i < 100; ++i) Append(a_, 8);

  EXPECT_NEAR(Wait(small_a_), 101, 5);
  EXPECT_NEAR(Wait(small_b_), 0, 0.1);
  Append(b_, 8);
  Append(b_, 8);
  EXPECT_NEAR(Wait(small_b_), 3 + 3, 0.5);
}

TEST_F(ExpectedWaitTest, ATurnIsWaitedForUnlessItGivesWay) {
  Append(a_, 9);
  ASSERT_TRUE(lines_.Take(now()));

  EXPECT_NEAR(Wait(small_a_), 0, 0.1) << "comes in between";
  EXPECT_NEAR(Wait(large_a_), 1, 0.1);
  EXPECT_NEAR(Wait(large_a_, kBatch / 2), 0.5, 0.1);
  EXPECT_GT(Wait(large_a_, 2 * kBatch), 0) << "it is not done";

  lines_.Return(large_a_, kBatch);
  EXPECT_EQ(lines_.ExpectedWait(large_a_, now()), nanoseconds(0));
}

TEST_F(ExpectedWaitTest, AllThatWaitsAndIsComputedIsForeseen) {
  Append(b_, 8);
  ASSERT_TRUE(lines_.Take(now()));
  Append(a_, 9);
  Append(a_, 9);
  EXPECT_NEAR(static_cast<double>(lines_.PredictedTime(now()).count()) /
                  static_cast<double>(kBatch.count()),
              3, 0.3);
}

TEST_F(ExpectedWaitTest, ALongTurnIsChargedAsItGoesOn) {
  Append(b_, 9);
  ASSERT_TRUE(lines_.Take(now()));
  for (int i = 0; i < 10; ++i) Append(a_, 8);
  for (int i = 0; i < 10; ++i) Append(b_, 9);

  EXPECT_NEAR(Wait(small_a_), 11 + 11, 1.5) << "in turns with large ones of b";
  EXPECT_NEAR(Wait(small_a_, 20 * kBatch), 11, 1) << "b has had its time";
}

TEST_F(ExpectedWaitTest, WhatComesInBetweenIsNotPartOfATurn) {
  Append(a_, 9);
  ASSERT_TRUE(lines_.Take(now()));
  Append(a_, 1);
  const auto between = lines_.TakeSmall(now(), nanoseconds(1));
  ASSERT_TRUE(between);
  lines_.Return(between->line, 5 * kBatch);

  EXPECT_NEAR(Wait(large_a_, 5 * kBatch), 1, 0.1);
}

TEST_F(ExpectedWaitTest, WhatIsComputedInDoubleDoesNotGiveWay) {
  Append(b_, 1, DataType::kFloat64);
  const auto exact = MakeTask(
      std::make_shared<FakeCaller>(1, /*seed=*/1, DataType::kFloat64), b_);
  for (int i = 0; i < 1000; ++i) {
    costs_.Of(*exact).Learn({.tokens = 1, .pairs = 1}, kBatch);
  }
  ASSERT_TRUE(lines_.Take(now()));

  EXPECT_NEAR(Wait(small_a_), 1, 0.1);
}

}  // namespace
}  // namespace attention
