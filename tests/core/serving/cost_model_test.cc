// SPDX-License-Identifier: Apache-2.0
#include "core/serving/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>

#include "tests/core/serving/fake_caller.h"

namespace attention {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using testing::FakeCaller;
using testing::MakeSmallModule;
using testing::MakeTask;
using Size = ForwardTask::Size;

// A sequence of so many tokens that attend to one another.
Size Sequence(std::int64_t length) {
  return {.tokens = length, .pairs = length * length};
}

// About what 768 channels take: 100 us a batch, 35 us a token, 34 ns a pair.
nanoseconds TrueTime(const Size& size) {
  return microseconds(100) + size.tokens * microseconds(35) +
         size.pairs * nanoseconds(34);
}

constexpr CostModel::Clock::time_point kLater{std::chrono::hours(1)};

double Ratio(nanoseconds got, nanoseconds expected) {
  return static_cast<double>(got.count()) /
         static_cast<double>(expected.count());
}

class CostModelTest : public ::testing::Test {
 protected:
  void LearnRandomSizes(int count, double noise = 0) {
    std::uniform_real_distribution<double> exponent(0, 13);
    std::normal_distribution<double> logarithm;
    for (int i = 0; i < count; ++i) {
      const Size size = Sequence(std::lround(std::exp2(exponent(random_))));
      model_.Learn(size,
                   std::chrono::duration_cast<nanoseconds>(
                       TrueTime(size) * std::exp(noise * logarithm(random_))));
    }
  }

  std::mt19937_64 random_{1};
  CostModel model_;
};

TEST_F(CostModelTest, KnowsNothingOfAModuleThatItIsSlow) {
  EXPECT_LT(model_.Predict(Sequence(1)), milliseconds(1));
  EXPECT_LT(model_.Predict(Sequence(1024)), milliseconds(10));
  EXPECT_GT(model_.Predict(Sequence(262'144)), seconds(60))
      << "which no machine computes in a minute";
  EXPECT_EQ(model_.error(), 0);
}

TEST_F(CostModelTest, LearnsWhatItIsShown) {
  LearnRandomSizes(500);

  for (const std::int64_t length : {1, 7, 64, 300, 2048, 8192}) {
    const Size size = Sequence(length);
    EXPECT_NEAR(Ratio(model_.Predict(size), TrueTime(size)), 1, 0.15) << length;
  }
  EXPECT_LT(model_.error(), 0.1);
}

TEST_F(CostModelTest, PredictsManyBatches) {
  LearnRandomSizes(500);

  const Size size = Sequence(100);
  EXPECT_NEAR(Ratio(model_.Predict(size, 101) - model_.Predict(size, 1),
                    10 * (model_.Predict(size, 11) - model_.Predict(size, 1))),
              1, 0.01);
  EXPECT_GT(model_.Predict(size, 11), model_.Predict(size, 1));
  EXPECT_GE(model_.Predict({}, 5), nanoseconds(5));
}

TEST_F(CostModelTest, LearnsFromNoisyTimes) {
  LearnRandomSizes(2000, /*noise=*/0.3);

  for (const std::int64_t length : {1, 64, 2048}) {
    const Size size = Sequence(length);
    EXPECT_NEAR(Ratio(model_.Predict(size), TrueTime(size)), 1, 0.3) << length;
  }
  EXPECT_NEAR(model_.error(), 0.25, 0.15);
}

TEST_F(CostModelTest, SmallRequestsDoNotMakeItForgetLargeOnes) {
  const Size large = Sequence(8192);
  for (int i = 0; i < 20; ++i) model_.Learn(large, TrueTime(large));

  for (int i = 0; i < 10'000; ++i) {
    model_.Learn(Sequence(1), TrueTime(Sequence(1)));
  }

  EXPECT_NEAR(Ratio(model_.Predict(large), TrueTime(large)), 1, 0.2);
  EXPECT_NEAR(Ratio(model_.Predict(Sequence(1)), TrueTime(Sequence(1))), 1,
              0.05);
}

TEST_F(CostModelTest, FollowsAMachineThatBecomesSlower) {
  LearnRandomSizes(500);
  const Size size = Sequence(512);

  for (int i = 0; i < 100; ++i) model_.Learn(size, 3 * TrueTime(size));

  EXPECT_NEAR(Ratio(model_.Predict(size), 3 * TrueTime(size)), 1, 0.05);
}

TEST_F(CostModelTest, OneOutlierHardlyCounts) {
  LearnRandomSizes(500);
  const Size size = Sequence(64);
  const nanoseconds before = model_.Predict(size);

  model_.Learn(size, seconds(1000));
  EXPECT_LT(Ratio(model_.Predict(size), before), 1.33);
  model_.Learn(size, nanoseconds(0));
  EXPECT_GT(Ratio(model_.Predict(size), before), 0.5);
}

TEST_F(CostModelTest, ManyDoubtsAtOnceAreOne) {
  LearnRandomSizes(500);
  const Size size = Sequence(64);
  const nanoseconds before = model_.Predict(size);

  for (int i = 0; i < 10'000; ++i) model_.Doubt(size, kLater);

  EXPECT_LT(model_.Predict(size), before);
  EXPECT_GT(Ratio(model_.Predict(size), before), 0.98);
}

TEST_F(CostModelTest, DoubtRaisesNothing) {
  const Size size = Sequence(64);
  for (int i = 0; i < 100; ++i) model_.Learn(size, microseconds(1));
  const nanoseconds before = model_.Predict(size);

  model_.Doubt(size, kLater);

  EXPECT_EQ(model_.Predict(size), before);
}

TEST_F(CostModelTest, DoubtLeadsBackToTheStart) {
  const Size size = Sequence(64);
  for (int i = 0; i < 100; ++i) model_.Learn(size, seconds(100));
  ASSERT_GT(model_.Predict(size), seconds(60));

  for (int i = 0; i < 1000; ++i) model_.Doubt(size, kLater + seconds(i));

  EXPECT_LT(model_.Predict(size), milliseconds(100));
}

TEST_F(CostModelTest, IsBoundedWhateverItIsShown) {
  const Size sizes[] = {
      {},
      {.tokens = std::int64_t{1} << 40U, .pairs = std::int64_t{1} << 40U},
      Sequence(1),
      {.tokens = 1, .pairs = 0}};
  std::uniform_int_distribution<int> which(0, 3);
  std::uniform_int_distribution<int> exponent(0, 62);
  for (int i = 0; i < 20'000; ++i) {
    model_.Learn(sizes[which(random_)],
                 nanoseconds(std::int64_t{1} << exponent(random_)));
    for (const Size& size : sizes) {
      ASSERT_GE(model_.Predict(size), nanoseconds(1));
      ASSERT_LE(model_.Predict(size), std::chrono::hours(48));
    }
    ASSERT_TRUE(model_.error() >= 0 && model_.error() <= 4);
  }
}

TEST(CostModelsTest, EveryImplementationHasItsOwn) {
  CostModels models;
  const auto module = MakeSmallModule();
  const auto single = MakeTask(std::make_shared<FakeCaller>(), module);
  const auto exact = MakeTask(
      std::make_shared<FakeCaller>(3, /*seed=*/1, DataType::kFloat64), module);

  CostModel& model = models.Of(*single);
  model.Learn(Sequence(1), milliseconds(1));

  EXPECT_EQ(&models.Of(*single), &model);
  EXPECT_NE(&models.Of(*exact), &model);
  EXPECT_EQ(models.Find(&single->implementation()), &model);
  EXPECT_DOUBLE_EQ(models.error(), model.error() / 2);
}

TEST(CostModelsTest, ForgetsModulesThatAreGone) {
  CostModels models;
  auto module = MakeSmallModule();
  const auto other = MakeSmallModule();
  auto task = MakeTask(std::make_shared<FakeCaller>(), module);
  const ModuleImplementation* const implementation = &task->implementation();
  (void)models.Of(*task);
  task.reset();
  module.reset();
  ASSERT_NE(models.Find(implementation), nullptr);

  (void)models.Of(*MakeTask(std::make_shared<FakeCaller>(), other));

  EXPECT_EQ(models.Find(implementation), nullptr);
}

}  // namespace
}  // namespace attention
