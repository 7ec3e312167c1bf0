// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "tests/core/conformance/conformance.h"

namespace attention::testing {
namespace {

struct Dims {
  std::int64_t batch = 0;
  std::int64_t length = 0;
  std::int64_t keys = 0;
  std::int64_t embed_dim = 0;
  std::int64_t num_heads = 0;
};

// Sequence n of a batch-first tensor, as a batch of one.
TensorView Single(const TensorView& batch, std::int64_t n) {
  const std::size_t bytes =
      batch.num_bytes() / static_cast<std::size_t>(batch.shape.dim(0));
  std::vector<std::int64_t> dims(batch.shape.dims().begin(),
                                 batch.shape.dims().end());
  dims[0] = 1;
  return {batch.data + static_cast<std::size_t>(n) * bytes, batch.dtype,
          *Shape::Create(dims)};
}

class BatchInvarianceTest : public ConformanceTest {
 protected:
  // A batch, computed with two threads, against its sequences one by one with
  // one thread: every bit must agree.
  void ExpectBatchEqualsSingles(const Dims& dims, bool need_weights) {
    MultiHeadAttentionConfig config;
    config.embed_dim = dims.embed_dim;
    config.num_heads = dims.num_heads;
    config.batch_first = true;
    const auto attention = Make(config);
    const Tensor query = RandomTensor(
        DataType::kFloat32, {dims.batch, dims.length, dims.embed_dim}, 1);
    const Tensor key = RandomTensor(DataType::kFloat32,
                                    {dims.batch, dims.keys, dims.embed_dim}, 2);
    AttentionInputs inputs;
    inputs.query = query.view();
    inputs.key = key.view();
    inputs.need_weights = need_weights;
    const Answer together = Compute(*attention, config, inputs, pool_);

    ComputePool one_thread(1, Pinning::kNone, kNoReserve);
    for (std::int64_t n = 0; n < dims.batch; ++n) {
      SCOPED_TRACE("sequence " + std::to_string(n));
      inputs.query = Single(query.view(), n);
      inputs.key = Single(key.view(), n);
      const Answer alone = Compute(*attention, config, inputs, one_thread);
      ASSERT_TRUE(
          IsIdentical(alone.output.view(), Single(together.output.view(), n)));
      if (need_weights) {
        ASSERT_TRUE(IsIdentical(alone.weights->view(),
                                Single(together.weights->view(), n)));
      }
    }
  }

  // The same for sequences of different lengths, with appended columns.
  void ExpectRaggedEqualsSingles(const Dims& dims,
                                 const std::vector<std::int64_t>& lengths) {
    SCOPED_TRACE(std::to_string(dims.num_heads) + " heads in " +
                 std::to_string(dims.embed_dim));
    MultiHeadAttentionConfig config;
    config.embed_dim = dims.embed_dim;
    config.num_heads = dims.num_heads;
    config.add_bias_kv = true;
    config.add_zero_attn = true;
    const auto attention = Make(config);
    const std::int64_t num_rows =
        std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    const Tensor rows =
        RandomTensor(DataType::kFloat32, {num_rows, dims.embed_dim}, 1);
    AttentionInputs inputs;
    inputs.query = rows.view();
    inputs.query_lengths = lengths;
    inputs.need_weights = false;
    const Answer ragged = Compute(*attention, config, inputs, pool_);

    std::int64_t first = 0;
    for (const std::int64_t length : lengths) {
      const auto rows_of = [&](const Tensor& tensor) {
        return TensorView{tensor.view().data +
                              static_cast<std::size_t>(first * dims.embed_dim) *
                                  sizeof(float),
                          DataType::kFloat32,
                          {length, dims.embed_dim}};
      };
      inputs.query = rows_of(rows);
      inputs.query_lengths = {};
      const Answer answer = Compute(*attention, config, inputs, pool_);
      EXPECT_TRUE(IsIdentical(answer.output.view(), rows_of(ragged.output)))
          << "sequence of " << length;
      first += length;
    }
  }
};

TEST_P(BatchInvarianceTest, BatchEqualsSinglesForOddSizes) {
  for (const std::int64_t length : {1, 2, 7, 13, 31, 63, 65, 100}) {
    SCOPED_TRACE("L " + std::to_string(length));
    ExpectBatchEqualsSingles({5, length, length + 3, 30, 3}, true);
  }
}

TEST_P(BatchInvarianceTest, BatchEqualsSinglesForManyTokensOfOneRow) {
  ExpectBatchEqualsSingles({70, 1, 5, 64, 8}, false);
}

TEST_P(BatchInvarianceTest, BatchEqualsSinglesForLargeEmbedDim) {
  ExpectBatchEqualsSingles({3, 9, 9, 768, 12}, true);
}

TEST_P(BatchInvarianceTest, BatchEqualsSinglesUpToEmbedDim4096) {
  if (GetParam().name == "Reference") {
    return ExpectBatchEqualsSingles({2, 1, 1, 1024, 16}, false);
  }
  ExpectBatchEqualsSingles({3, 5, 6, 4096, 32}, false);
}

TEST_P(BatchInvarianceTest, RaggedEqualsSingles) {
  // Heads of 10, 64, 72 and 128: the values of a head are written where they
  // belong if columns come by 64 and rows of one sequence alone.
  for (const Dims& dims : {Dims{.embed_dim = 40, .num_heads = 4},
                           {.embed_dim = 128, .num_heads = 2},
                           {.embed_dim = 144, .num_heads = 2},
                           {.embed_dim = 128, .num_heads = 1}}) {
    ExpectRaggedEqualsSingles(dims, {10, 64, 54, 0, 130, 1});
  }
}

TEST_P(BatchInvarianceTest, SequenceFirstEqualsBatchFirst) {
  MultiHeadAttentionConfig config;
  config.embed_dim = 24;
  config.num_heads = 3;
  const auto attention = Make(config);
  const Tensor sequence_first =
      RandomTensor(DataType::kFloat32, {70, 3, 24}, 1);
  Tensor batch_first(DataType::kFloat32, {3, 70, 24});
  const auto transpose = [](const Tensor& from, Tensor& to) {
    for (std::size_t l = 0; l < 70; ++l) {
      for (std::size_t n = 0; n < 3; ++n) {
        std::copy_n(from.data<float>().data() + (l * 3 + n) * 24, 24,
                    to.data<float>().data() + (n * 70 + l) * 24);
      }
    }
  };
  transpose(sequence_first, batch_first);
  AttentionInputs inputs;
  inputs.query = sequence_first.view();
  const Answer first = Compute(*attention, config, inputs, pool_);
  config.batch_first = true;
  inputs.query = batch_first.view();
  const Answer second = Compute(*attention, config, inputs, pool_);

  Tensor moved(DataType::kFloat32, {3, 70, 24});
  transpose(first.output, moved);
  EXPECT_TRUE(IsIdentical(moved.view(), second.output.view()));
  EXPECT_TRUE(IsIdentical(first.weights->view(), second.weights->view()));
}

TEST_P(BatchInvarianceTest, UnalignedInputsGiveTheSameBits) {
  MultiHeadAttentionConfig config;
  config.embed_dim = 96;
  config.num_heads = 4;
  const auto attention = Make(config);
  const Tensor query = RandomTensor(DataType::kFloat32, {64, 96}, 1);
  AlignedBuffer shifted(query.num_bytes() + kTensorAlignment);
  AttentionInputs inputs;
  inputs.query = query.view();
  const Answer aligned = Compute(*attention, config, inputs, pool_);
  for (const std::size_t offset : {1U, 4U, 20U}) {
    std::memcpy(shifted.data() + offset, query.view().data, query.num_bytes());
    inputs.query.data = shifted.data() + offset;
    const Answer answer = Compute(*attention, config, inputs, pool_);
    EXPECT_TRUE(IsIdentical(answer.output.view(), aligned.output.view()));
  }
}

// Hidden scores of sequence 1 overflow, and may not show, whatever sequence 0
// makes of the rows they share a tile with.
TEST_P(BatchInvarianceTest, NaNInOneSequenceLeavesItsNeighbourAlone) {
  constexpr std::int64_t kLength = 20;
  constexpr std::int64_t kWidth = 16;
  const ScaledDotProductAttentionConfig config = {.num_heads = 2,
                                                  .head_dim = 8};
  const Shape shape = {2, kLength, kWidth};
  Tensor query = RandomTensor(DataType::kFloat32, shape, 1);
  Tensor key = RandomTensor(DataType::kFloat32, shape, 2);
  const Tensor value = RandomTensor(DataType::kFloat32, shape, 3);
  // Row 0 of sequence 1 does not see the last key.
  query.data<float>()[kLength * kWidth + 3] = 1e20F;
  key.data<float>()[(2 * kLength - 1) * kWidth + 3] = 1e20F;
  AttentionInputs inputs;
  inputs.query = query.view();
  inputs.key = key.view();
  inputs.value = value.view();
  inputs.causal = Causal::kTopLeft;
  inputs.need_weights = false;
  const auto attention =
      GetParam().make(config, MakeWeights(config, DataType::kFloat32, 7));
  const Answer ordinary = Compute(*attention, config, inputs, pool_);
  key.data<float>()[5 * kWidth + 3] = std::numeric_limits<float>::quiet_NaN();
  const Answer beside_nan = Compute(*attention, config, inputs, pool_);
  inputs.query = Single(query.view(), 1);
  inputs.key = Single(key.view(), 1);
  inputs.value = Single(value.view(), 1);
  const Answer alone = Compute(*attention, config, inputs, pool_);
  EXPECT_TRUE(
      IsIdentical(Single(ordinary.output.view(), 1), alone.output.view()));
  EXPECT_TRUE(
      IsIdentical(Single(beside_nan.output.view(), 1), alone.output.view()));
}

INSTANTIATE_TEST_SUITE_P(
    Implementations, BatchInvarianceTest, ::testing::ValuesIn(InvariantKinds()),
    [](const ::testing::TestParamInfo<ImplementationKind>& parameter) {
      return parameter.param.name;
    });

}  // namespace
}  // namespace attention::testing
