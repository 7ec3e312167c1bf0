// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/tensor_summary.h"

#include <gtest/gtest.h>

#include <limits>

#include "client/cpp/cli/tensor_values.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

Tensor MakeTensor(const std::vector<double>& values, const Shape& shape) {
  Tensor tensor(DataType::kFloat32, shape);
  StoreReals(values.data(), values.size(), DataType::kFloat32,
             tensor.mutable_view().data);
  return tensor;
}

TEST(TensorSummaryTest, ShowsShapeFirstValuesAndStatistics) {
  const Tensor tensor = MakeTensor({1, 2, 3, 4, 5, 6, 7, -4}, Shape{2, 4});

  EXPECT_EQ(SummarizeTensor("output", tensor.view()),
            "output: float32 (2, 4)\n"
            "  first [1, 2, 3, 4, 5, 6, ...]  mean 3  min -4  max 7\n");
}

TEST(TensorSummaryTest, CountsNaN) {
  const Tensor tensor =
      MakeTensor({std::numeric_limits<double>::quiet_NaN(), 2}, Shape{2});

  EXPECT_EQ(SummarizeTensor("x", tensor.view()),
            "x: float32 (2,)\n"
            "  first [nan, 2]  mean 2  min 2  max 2  NaN 1 of 2\n");
}

TEST(TensorSummaryTest, DescribesEmptyTensor) {
  EXPECT_EQ(SummarizeTensor("x", Tensor(DataType::kFloat16, Shape{0}).view()),
            "x: float16 (0,)\n  first []\n");
}

TEST(TensorValuesTest, ReadsIntegersAndBool) {
  Tensor lengths(DataType::kInt32, Shape{2});
  lengths.data<std::int32_t>()[0] = -5;
  lengths.data<std::int32_t>()[1] = 7;
  Tensor mask(DataType::kBool, Shape{2});
  mask.data<std::uint8_t>()[0] = 0;
  mask.data<std::uint8_t>()[1] = 1;

  EXPECT_EQ(ReadValues(lengths.view()), (std::vector<double>{-5, 7}));
  EXPECT_EQ(ReadValues(mask.view()), (std::vector<double>{0, 1}));
}

TEST(TensorValuesTest, WritesPositionsLikeNumpy) {
  EXPECT_EQ(PositionToString(Shape{2, 3, 4}, 23), "[1, 2, 3]");
  EXPECT_EQ(PositionToString(Shape{}, 0), "[]");
}

}  // namespace
}  // namespace attention
