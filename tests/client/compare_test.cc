// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/tensor/convert.h"

namespace attention {
namespace {

using testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

Tensor MakeTensor(const std::vector<double>& values,
                  DataType dtype = DataType::kFloat32) {
  Tensor tensor(dtype, Shape{static_cast<std::int64_t>(values.size())});
  StoreReals(values.data(), values.size(), dtype, tensor.mutable_view().data);
  return tensor;
}

Tensor MakePositions(const std::vector<std::int64_t>& positions) {
  Tensor tensor(DataType::kInt64,
                Shape{static_cast<std::int64_t>(positions.size())});
  std::ranges::copy(positions, tensor.data<std::int64_t>().begin());
  return tensor;
}

bool Agree(const std::vector<double>& got, const std::vector<double>& want) {
  return Compare(MakeTensor(got).view(), MakeTensor(want).view())->agrees();
}

TEST(CompareTest, EqualTensorsAgree) { EXPECT_TRUE(Agree({1, 2}, {1, 2})); }

TEST(CompareTest, NaNEqualsNaNOnly) {
  EXPECT_TRUE(Agree({kNaN, 1}, {kNaN, 1}));
  EXPECT_FALSE(Agree({kNaN}, {1}));
  EXPECT_FALSE(Agree({1}, {kNaN}));
  EXPECT_FALSE(Agree({kInf}, {kNaN}));
}

TEST(CompareTest, InfinityEqualsItselfOnly) {
  EXPECT_TRUE(Agree({kInf, -kInf}, {kInf, -kInf}));
  EXPECT_FALSE(Agree({kInf}, {-kInf}));
  EXPECT_FALSE(Agree({kInf}, {1e30}));
  EXPECT_FALSE(Agree({1e30}, {kInf}));
}

TEST(CompareTest, ToleranceIsAbsolutePlusRelative) {
  EXPECT_TRUE(Agree({1000.0012}, {1000.0}));
  EXPECT_FALSE(Agree({1000.0020}, {1000.0}));
  EXPECT_TRUE(Agree({0.9e-5}, {0.0}));
  EXPECT_FALSE(Agree({1.1e-5}, {0.0}));
}

TEST(CompareTest, ToleranceIsThatOfTheDtypeOfTheAnswer) {
  const Tensor want = MakeTensor({1.0}, DataType::kFloat64);

  EXPECT_TRUE(
      Compare(MakeTensor({1.0078125}, DataType::kBFloat16).view(), want.view())
          ->agrees());
  EXPECT_FALSE(
      Compare(MakeTensor({1.0078125}, DataType::kFloat16).view(), want.view())
          ->agrees());
  EXPECT_FALSE(
      Compare(MakeTensor({1.000001}, DataType::kFloat64).view(), want.view())
          ->agrees());
}

TEST(CompareTest, ReportsLargestDifferenceAndPlace) {
  const Comparison comparison =
      *Compare(MakeTensor({1, 2.5, 4}).view(), MakeTensor({1.25, 2, 4}).view());

  EXPECT_EQ(comparison.num_compared, 3U);
  EXPECT_EQ(comparison.num_different, 2U);
  EXPECT_EQ(comparison.largest_difference, 0.5);
  EXPECT_EQ(comparison.largest_index, 1U);
  EXPECT_EQ(comparison.largest_got, 2.5);
  EXPECT_EQ(comparison.largest_want, 2.0);
}

TEST(CompareTest, ComparesBeyondOneBlock) {
  std::vector<double> values(10'000, 1.0);
  const Tensor want = MakeTensor(values);
  values[9'999] = 2.0;

  const Comparison comparison =
      *Compare(MakeTensor(values).view(), want.view());

  EXPECT_EQ(comparison.num_different, 1U);
  EXPECT_EQ(comparison.largest_index, 9'999U);
}

TEST(CompareTest, RejectsOtherShape) {
  EXPECT_EQ(Compare(MakeTensor({1}).view(), MakeTensor({1, 2}).view())
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CompareSampledTest, ComparesTheNamedElementsOnly) {
  const Tensor got = MakeTensor({9, 2, 9, 4});

  const auto comparison = CompareSampled(
      got.view(), MakePositions({3, 1}).view(), MakeTensor({4, 2}).view());

  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_TRUE(comparison->agrees());
  EXPECT_EQ(comparison->num_compared, 2U);
}

TEST(CompareSampledTest, RejectsPositionsOutside) {
  const Tensor got = MakeTensor({1, 2});

  for (const std::int64_t position : {-1, 2}) {
    EXPECT_FALSE(CompareSampled(got.view(), MakePositions({position}).view(),
                                MakeTensor({1}).view())
                     .ok());
  }
}

TEST(CompareSampledTest, RejectsPositionsOfOtherNumberOrDtype) {
  const Tensor got = MakeTensor({1, 2});

  EXPECT_FALSE(CompareSampled(got.view(), MakePositions({0, 1}).view(),
                              MakeTensor({1}).view())
                   .ok());
  EXPECT_FALSE(
      CompareSampled(got.view(), MakeTensor({0}).view(), MakeTensor({1}).view())
          .ok());
}

TEST(CompareWithExpectedTest, FindsWholeAndSampledTensors) {
  const Tensor got = MakeTensor({1, 2});
  const Tensor values = MakeTensor({2});
  const Tensor positions = MakePositions({1});

  const auto whole =
      CompareWithExpected("output", got.view(), {{"output", got.view()}});
  const auto sampled =
      CompareWithExpected("output", got.view(),
                          {{"output.positions", positions.view()},
                           {"output.values", values.view()}});

  EXPECT_EQ((*whole)->num_compared, 2U);
  EXPECT_EQ((*sampled)->num_compared, 1U);
}

TEST(CompareWithExpectedTest, SaysWhenThereIsNothingOrHalf) {
  const Tensor got = MakeTensor({1});

  const auto nothing = CompareWithExpected("weights", got.view(), {});
  const auto half = CompareWithExpected("weights", got.view(),
                                        {{"weights.values", got.view()}});

  EXPECT_FALSE(nothing->has_value());
  EXPECT_FALSE(half.ok());
}

TEST(CompareTest, BitIdentityTellsZeroesApart) {
  const Tensor zero = MakeTensor({0.0});
  const Tensor minus_zero = MakeTensor({-0.0});

  EXPECT_TRUE(AreBitIdentical(zero.view(), zero.Clone().view()));
  EXPECT_FALSE(AreBitIdentical(zero.view(), minus_zero.view()));
}

TEST(CompareTest, TextNamesDifferenceAndPlace) {
  const Tensor got = MakeTensor({1, 3});
  const Comparison comparison = *Compare(got.view(), MakeTensor({1, 2}).view());

  const std::string text =
      ComparisonToString("output", got.shape(), comparison);

  EXPECT_THAT(text, HasSubstr("output DIFFERS in 1 of 2"));
  EXPECT_THAT(text,
              HasSubstr("largest difference 1 at [1], got 3, expected 2"));
}

}  // namespace
}  // namespace attention
