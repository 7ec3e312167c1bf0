// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/projection.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "core/onednn/compute_thread.h"
#include "core/tensor/random_tensor.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using testing::IsIdentical;

TEST(TileTest, PicksTheLowestHeightThatHoldsTheRows) {
  for (std::int64_t rows = 1; rows <= kTileRows; ++rows) {
    const std::int64_t height = TileHeight(rows);
    EXPECT_GE(height, rows);
    EXPECT_TRUE(height == 4 || height - 6 < rows) << rows;
  }
}

// Rows 0, 1, ... of `input`, written to the same rows.
Tensor Project(const Projection& projection, const TensorView& input,
               std::int64_t out) {
  const ComputeThreadScope scope;
  const std::int64_t num_rows = input.shape.dim(0);
  Tensor output(DataType::kFloat32, {num_rows, out});
  std::vector<std::int64_t> rows(static_cast<std::size_t>(num_rows));
  std::iota(rows.begin(), rows.end(), 0);
  const ProjectionRows call = {input, rows, output.mutable_view(), rows};
  AlignedBuffer scratch(projection.scratch_bytes());
  for (std::int64_t item = 0; item < projection.num_items(call); ++item) {
    projection.Compute(call, item, scratch.data());
  }
  return output;
}

class ProjectionTest : public ::testing::TestWithParam<std::int64_t> {
 protected:
  ProjectionTest() {
    weights_.weight = RandomTensor(DataType::kFloat32, {kOut, in_}, 1);
    weights_.bias = RandomTensor(DataType::kFloat32, {kOut}, 2);
  }
  static constexpr std::int64_t kOut = 300;  // a full slice and a narrow one
  const std::int64_t in_ = GetParam();
  LinearWeights weights_;
};

TEST_P(ProjectionTest, ARowsBitsDependOnTheRowAlone) {
  const Projection projection(weights_);
  const Tensor input = RandomTensor(DataType::kFloat32, {130, in_}, 3);
  const Tensor whole = Project(projection, input.view(), kOut);

  for (const std::int64_t first : {0, 1, 3, 60}) {
    for (const std::int64_t count : {1, 2, 3, 5, 11, 37, 64, 70}) {
      const TensorView part = {input.view().data + first * in_ * 4,
                               DataType::kFloat32,
                               {count, in_}};
      const TensorView want = {whole.view().data + first * kOut * 4,
                               DataType::kFloat32,
                               {count, kOut}};
      ASSERT_TRUE(IsIdentical(Project(projection, part, kOut).view(), want))
          << "rows " << first << " to " << first + count;
    }
  }
}

TEST_P(ProjectionTest, ReadsAndWritesRowsByTheirIndices) {
  const Projection projection(weights_);
  const Tensor input = RandomTensor(DataType::kFloat32, {5, in_}, 3);
  const Tensor want = Project(projection, input.view(), kOut);
  Tensor output(DataType::kFloat32, {4, kOut});
  const std::vector<std::int64_t> sources = {4, 0, 2};
  const std::vector<std::int64_t> targets = {1, 3, 0};
  const ProjectionRows call = {input.view(), sources, output.mutable_view(),
                               targets};
  AlignedBuffer scratch(projection.scratch_bytes());
  for (std::int64_t item = 0; item < projection.num_items(call); ++item) {
    projection.Compute(call, item, scratch.data());
  }

  const auto row = [](const Tensor& tensor, std::int64_t i) {
    return TensorView{
        tensor.view().data + i * kOut * 4, DataType::kFloat32, {kOut}};
  };
  for (std::size_t t = 0; t < sources.size(); ++t) {
    EXPECT_TRUE(IsIdentical(row(output, targets[t]), row(want, sources[t])));
  }
}

// Widths about those of the slices: one column may not be left over.
TEST(ProjectionWidthsTest, ComputesEveryColumnOfEveryRow) {
  constexpr std::int64_t kIn = 3;
  for (const std::int64_t out : {1, 2, 255, 256, 257, 258, 512, 513, 769}) {
    LinearWeights weights;
    weights.weight = RandomTensor(DataType::kFloat32, {out, kIn}, 1);
    const Projection projection(weights);
    for (const std::int64_t rows : {1, 17, 64, 70}) {
      const Tensor input = RandomTensor(DataType::kFloat32, {rows, kIn}, 2);
      const Tensor output = Project(projection, input.view(), out);
      Tensor want(DataType::kFloat32, {rows, out});
      for (std::int64_t i = 0; i < rows * out; ++i) {
        float sum = 0.0F;
        for (std::int64_t e = 0; e < kIn; ++e) {
          sum +=
              input.data<float>()[static_cast<std::size_t>(i / out * kIn + e)] *
              weights.weight
                  .data<float>()[static_cast<std::size_t>(i % out * kIn + e)];
        }
        want.data<float>()[static_cast<std::size_t>(i)] = sum;
      }
      EXPECT_TRUE(testing::IsClose(output.view(), want.view()))
          << rows << " rows, " << out << " columns";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(InputWidths, ProjectionTest,
                         ::testing::Values(1, 5, 64, 768, 4096));

}  // namespace
}  // namespace attention
