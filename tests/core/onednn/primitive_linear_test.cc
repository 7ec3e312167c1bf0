// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/primitive_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "core/onednn/compute_thread.h"
#include "core/onednn/row_tiles.h"
#include "core/tensor/random_tensor.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using testing::IsClose;
using testing::IsIdentical;

TEST(RowTilesTest, CoverEveryRowOnceByTheLowestHeightThatHoldsThem) {
  for (std::int64_t num_rows = 0; num_rows <= 300; ++num_rows) {
    const RowTiles tiles(num_rows);
    std::int64_t next = 0;
    for (std::int64_t i = 0; i < tiles.count(); ++i) {
      const RowTile tile = tiles[i];
      EXPECT_EQ(tile.first, next);
      EXPECT_GE(tile.num_rows, 1);
      EXPECT_GE(tile.height, tile.num_rows);
      const std::size_t index = TileHeightIndex(tile.num_rows);
      EXPECT_EQ(kTileHeights[index], tile.height);
      EXPECT_TRUE(index == 0 || kTileHeights[index - 1] < tile.num_rows);
      next += tile.num_rows;
    }
    EXPECT_EQ(next, num_rows);
  }
}

PrimitiveLinear Make(const LinearWeights& weights,
                     std::optional<Activation> activation = std::nullopt) {
  const ComputeThreadScope scope;
  return PrimitiveLinear(weights, activation);
}

// Rows [first, first + count) of `input`, computed as a matrix of their own.
Tensor Compute(const PrimitiveLinear& linear, const Tensor& input,
               std::int64_t first, std::int64_t count,
               std::size_t num_threads = 1) {
  Tensor output(DataType::kFloat32, {count, linear.out()});
  ComputePool pool(num_threads, Pinning::kNone,
                   {.lease_bytes = 0, .thread_bytes = 0});
  const absl::Status status =
      linear.Compute(input.data<float>().data() + first * linear.in(), count,
                     output.data<float>().data(), pool);
  EXPECT_TRUE(status.ok()) << status;
  return output;
}
Tensor Compute(const PrimitiveLinear& linear, const Tensor& input) {
  return Compute(linear, input, 0, input.shape().dim(0));
}

TensorView RowsOf(const Tensor& tensor, std::int64_t first,
                  std::int64_t count) {
  const std::int64_t width = tensor.shape().dim(1);
  return {tensor.view().data + first * width * 4,
          DataType::kFloat32,
          {count, width}};
}

double Activate(double y, std::optional<Activation> activation) {
  if (activation == Activation::kRelu) return std::fmax(y, 0.0);
  if (activation == Activation::kGelu) {
    return y * 0.5 * (1.0 + std::erf(y * std::sqrt(0.5)));
  }
  return y;
}

// The formula.
Tensor Want(const LinearWeights& weights, std::optional<Activation> activation,
            const Tensor& input) {
  const std::int64_t in = input.shape().dim(1);
  const std::int64_t out = weights.weight.shape().dim(0);
  Tensor want(DataType::kFloat32, {input.shape().dim(0), out});
  for (std::int64_t i = 0; i < want.shape().num_elements(); ++i) {
    const auto column = static_cast<std::size_t>(i % out);
    const float* x = input.data<float>().data() + i / out * in;
    const float* w = weights.weight.data<float>().data() + i % out * in;
    double y = weights.bias ? weights.bias->data<float>()[column] : 0.0;
    for (std::int64_t e = 0; e < in; ++e) y += double{x[e]} * double{w[e]};
    want.data<float>()[static_cast<std::size_t>(i)] =
        static_cast<float>(Activate(y, activation));
  }
  return want;
}

class PrimitiveLinearTest : public ::testing::TestWithParam<std::int64_t> {
 protected:
  PrimitiveLinearTest() {
    weights_.weight = RandomTensor(DataType::kFloat32, {kOut, in_}, 1);
    weights_.bias = RandomTensor(DataType::kFloat32, {kOut}, 2);
  }
  static constexpr std::int64_t kOut = 300;
  const std::int64_t in_ = GetParam();
  LinearWeights weights_;
};

TEST_P(PrimitiveLinearTest, ARowsBitsDependOnTheRowAlone) {
  const PrimitiveLinear linear = Make(weights_);
  const Tensor input = RandomTensor(DataType::kFloat32, {260, in_}, 3);
  const Tensor whole = Compute(linear, input);

  for (const std::int64_t first : {0, 1, 3, 60, 129}) {
    for (const std::int64_t count : {1, 2, 3, 5, 11, 17, 37, 64, 70, 131}) {
      ASSERT_TRUE(IsIdentical(Compute(linear, input, first, count).view(),
                              RowsOf(whole, first, count)))
          << "rows " << first << " to " << first + count;
    }
  }
  EXPECT_TRUE(IsIdentical(
      Compute(linear, input, 0, 260, /*num_threads=*/3).view(), whole.view()));
}

TEST_P(PrimitiveLinearTest, ARowsBitsDependOnNoHeightAndNoPlaceInATile) {
  const PrimitiveLinear linear = Make(weights_);
  const Tensor input = RandomTensor(DataType::kFloat32, {64, in_}, 3);
  const Tensor whole = Compute(linear, input);
  AlignedBuffer scratch(linear.scratch_bytes());
  const ComputeThreadScope scope;
  for (const std::int64_t height : kTileHeights) {
    for (std::int64_t first = 0; first + height <= 64; ++first) {
      Tensor output(DataType::kFloat32, {height, kOut});
      linear.ComputeTile(
          {.first = 0, .num_rows = height, .height = height},
          [&](float* x) {
            std::memcpy(x, RowsOf(input, first, height).data,
                        static_cast<std::size_t>(height * in_) * 4);
          },
          [&](const float* y) {
            std::memcpy(output.mutable_view().data, y, output.num_bytes());
          },
          scratch.data());
      ASSERT_TRUE(IsIdentical(output.view(), RowsOf(whole, first, height)))
          << "height " << height << " from row " << first;
    }
  }
}

TEST_P(PrimitiveLinearTest, NeighboursThatAreNotFiniteLeaveARowAlone) {
  const PrimitiveLinear linear = Make(weights_);
  Tensor input = RandomTensor(DataType::kFloat32, {70, in_}, 3);
  const Tensor want = Compute(linear, input);
  for (std::int64_t i = 0; i < 70; ++i) {
    if (i % 5 == 2) continue;
    input.data<float>()[static_cast<std::size_t>(i * in_)] =
        i % 2 == 0 ? std::numeric_limits<float>::quiet_NaN()
                   : std::numeric_limits<float>::infinity();
  }
  const Tensor got = Compute(linear, input);
  for (std::int64_t i = 2; i < 70; i += 5) {
    EXPECT_TRUE(IsIdentical(RowsOf(got, i, 1), RowsOf(want, i, 1))) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(InputWidths, PrimitiveLinearTest,
                         ::testing::Values(1, 5, 64, 768, 4096));

// One column among them: a matmul into it ignores strides.
TEST(PrimitiveLinearWidthsTest, ComputesEveryColumnOfEveryRow) {
  for (const std::int64_t in : {1, 3, 40}) {
    for (const std::int64_t out : {1, 2, 15, 255, 256, 257, 258, 513, 769}) {
      LinearWeights weights;
      weights.weight = RandomTensor(DataType::kFloat32, {out, in}, 1);
      if (out % 2 == 0) {
        weights.bias = RandomTensor(DataType::kFloat32, {out}, 2);
      }
      const PrimitiveLinear linear = Make(weights);
      for (const std::int64_t rows : {1, 4, 17, 64, 70, 150}) {
        const Tensor input = RandomTensor(DataType::kFloat32, {rows, in}, 3);
        EXPECT_TRUE(IsClose(Compute(linear, input).view(),
                            Want(weights, std::nullopt, input).view()))
            << rows << " rows, " << in << " to " << out << " columns";
      }
    }
  }
}

TEST(PrimitiveLinearWidthsTest, ComputesNoRows) {
  LinearWeights weights;
  weights.weight = RandomTensor(DataType::kFloat32, {2, 3}, 1);
  const Tensor input(DataType::kFloat32, {0, 3});
  EXPECT_EQ(Compute(Make(weights), input).shape(), (Shape{0, 2}));
}

TEST(PrimitiveLinearActivationTest, FollowsTheFormula) {
  LinearWeights weights;
  weights.weight = RandomTensor(DataType::kFloat32, {33, 20}, 1);
  weights.bias = RandomTensor(DataType::kFloat32, {33}, 2);
  const Tensor input = RandomTensor(DataType::kFloat32, {21, 20}, 3);
  for (const Activation activation : {Activation::kRelu, Activation::kGelu}) {
    EXPECT_TRUE(IsClose(Compute(Make(weights, activation), input).view(),
                        Want(weights, activation, input).view()));
  }
}

TEST(PrimitiveLinearActivationTest, KeepsNaN) {
  LinearWeights weights;
  weights.weight = RandomTensor(DataType::kFloat32, {33, 20}, 1);
  Tensor input = RandomTensor(DataType::kFloat32, {2, 20}, 3);
  input.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  for (const Activation activation : {Activation::kRelu, Activation::kGelu}) {
    const Tensor output = Compute(Make(weights, activation), input);
    for (std::size_t j = 0; j < 66; ++j) {
      EXPECT_EQ(std::isnan(output.data<float>()[j]), j < 33) << j;
    }
  }
}

TEST(PrimitiveLinearUnpackTest, ReturnsTheValuesItWasMadeOf) {
  for (const std::int64_t in : {1, 5, 64, 300}) {
    for (const std::int64_t out : {1, 7, 64, 257}) {
      LinearWeights weights;
      weights.weight = RandomTensor(DataType::kFloat32, {out, in}, 1);
      weights.weight.data<float>()[0] =
          std::numeric_limits<float>::denorm_min();
      weights.weight.data<float>().back() = -0.0F;
      if (out != 7) weights.bias = RandomTensor(DataType::kFloat32, {out}, 2);
      const LinearWeights unpacked = Make(weights).Unpack();
      EXPECT_TRUE(IsIdentical(unpacked.weight.view(), weights.weight.view()));
      ASSERT_EQ(unpacked.bias.has_value(), weights.bias.has_value());
      if (weights.bias) {
        EXPECT_TRUE(IsIdentical(unpacked.bias->view(), weights.bias->view()));
      }
    }
  }
}

TEST(PrimitiveLinearUnpackTest, ReturnsSixteenBitValuesAsFloats) {
  const Tensor stored = RandomTensor(DataType::kBFloat16, {9, 5}, 1);
  LinearWeights weights;
  weights.weight = stored.Clone();
  const LinearWeights unpacked = Make(weights).Unpack();
  EXPECT_EQ(unpacked.weight.dtype(), DataType::kFloat32);
  EXPECT_EQ(testing::ToDoubles(unpacked.weight.view()),
            testing::ToDoubles(stored.view()));
}

}  // namespace
}  // namespace attention
