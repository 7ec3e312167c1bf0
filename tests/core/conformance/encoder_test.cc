// SPDX-License-Identifier: Apache-2.0
// Encoder layers and stacks of them, on both implementations. PyTorch itself
// judges them in tests/pytorch.
#include <gmock/gmock.h>

#include <numeric>
#include <vector>

#include "tests/core/conformance/family.h"

namespace attention::testing {
namespace {

// Rows [first, first + count) of a packed (T, E) tensor.
TensorView Rows(const TensorView& rows, std::int64_t first,
                std::int64_t count) {
  const std::int64_t width = rows.shape.back();
  return {rows.data + static_cast<std::size_t>(first * width) *
                          DataTypeSize(rows.dtype),
          rows.dtype,
          {count, width}};
}

TransformerEncoderLayerConfig SmallLayer() {
  return {
      .d_model = 24, .nhead = 3, .dim_feedforward = 40, .batch_first = true};
}

class EncoderTest : public FamilyTest {};

TEST_P(EncoderTest, EncodersAgreeWithTheReference) {
  const Tensor query = RandomTensor(kF32, {2, 70, 24}, 1);
  const Tensor lens = Integers({2}, {70, 33});
  AttentionInputs inputs = Inputs(query);
  inputs.valid_lens = lens.view();
  inputs.need_weights = false;
  for (const bool norm_first : {false, true}) {
    for (const bool bias : {false, true}) {
      for (const Activation activation :
           {Activation::kRelu, Activation::kGelu}) {
        TransformerEncoderLayerConfig layer = SmallLayer();
        layer.norm_first = norm_first;
        layer.bias = bias;
        layer.activation = activation;
        layer.dropout = 0.4;
        for (const bool training : {false, true}) {
          inputs.training = training;
          ExpectAsReference(layer, inputs);
          ExpectAsReference(
              TransformerEncoderConfig{
                  .layer = layer, .num_layers = 3, .norm = true},
              inputs);
        }
      }
    }
  }
  ExpectAsReference(D2lTransformerEncoderBlockConfig{.num_hiddens = 24,
                                                     .ffn_num_hiddens = 48,
                                                     .num_heads = 3,
                                                     .dropout = 0.5,
                                                     .use_bias = true},
                    inputs);
}

TEST_P(EncoderTest, AnEncoderGivesASequenceTheSameBitsInAnyBatch) {
  const TransformerEncoderConfig config = {
      .layer = SmallLayer(), .num_layers = 2, .norm = true};
  const std::vector<std::int64_t> lengths = {1, 70, 13, 64, 5, 31};
  const std::int64_t total =
      std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  const Tensor query = RandomTensor(kF32, {total, 24}, 1);
  AttentionInputs inputs = Inputs(query);
  inputs.query_lengths = lengths;
  inputs.need_weights = false;
  const Answer together = Run(config, inputs);

  const auto implementation =
      GetParam().make(config, MakeWeights(config, kF32, 7));
  ComputePool one_thread(1, Pinning::kNone, kNoReserve);
  std::int64_t first = 0;
  for (const std::int64_t length : lengths) {
    AttentionInputs alone;
    alone.query = Rows(query.view(), first, length);
    alone.need_weights = false;
    const Answer got = Compute(*implementation, config, alone, one_thread);
    EXPECT_TRUE(IsIdentical(got.output.view(),
                            Rows(together.output.view(), first, length)))
        << "length " << length;
    first += length;
  }
}

TEST_P(EncoderTest, AnEncoderRowWithNaNIsNaNAndNoOther) {
  const Tensor clean = RandomTensor(kF32, {1, 9, 24}, 1);
  Tensor query = clean.Clone();
  query.data<float>()[8 * 24 + 3] = std::numeric_limits<float>::quiet_NaN();
  const Tensor lens = Integers({1}, {8});
  AttentionInputs inputs = Inputs(query);
  inputs.valid_lens = lens.view();
  inputs.need_weights = false;
  for (const bool norm_first : {false, true}) {
    TransformerEncoderLayerConfig layer = SmallLayer();
    layer.norm_first = norm_first;
    ExpectAsReference(layer, inputs);
    const Answer got = Run(layer, inputs);
    EXPECT_THAT(got.output.data<float>().first(8 * 24),
                ::testing::Each(::testing::Not(::testing::IsNan())));
    EXPECT_THAT(got.output.data<float>().last(24),
                ::testing::Each(::testing::IsNan()));
  }
}

TEST_P(EncoderTest, AnActivationKeepsNaN) {
  const Tensor query = RandomTensor(kF32, {1, 70, 24}, 1);
  AttentionInputs inputs = Inputs(query);
  inputs.need_weights = false;
  for (const Activation activation : {Activation::kRelu, Activation::kGelu}) {
    TransformerEncoderLayerConfig layer = SmallLayer();
    layer.activation = activation;
    ModuleWeights weights = MakeWeights(layer, kF32, 7);
    weights.layers[0].linear1.bias->data<float>()[5] =
        std::numeric_limits<float>::quiet_NaN();
    const Answer answer = Compute(*GetParam().make(layer, std::move(weights)),
                                  layer, inputs, pool_);
    EXPECT_THAT(answer.output.data<float>(),
                ::testing::Each(::testing::IsNan()));
  }
}

TEST_P(EncoderTest, LongEncodersAgreeWithTheReference) {
  TransformerEncoderLayerConfig layer = SmallLayer();
  layer.dim_feedforward = 300;
  layer.dropout = 0.3;
  const Tensor query = RandomTensor(kF32, {11, 101, 24}, 1);
  AttentionInputs inputs = Inputs(query);
  inputs.need_weights = false;
  inputs.training = true;
  inputs.dropout_seed = 3;
  ExpectAsReference(layer, inputs);
}

TEST(EncoderInputsTest, AnEncoderTakesNoKeys) {
  const Tensor query = RandomTensor(DataType::kFloat32, {8, 24}, 1);
  AttentionInputs inputs = Inputs(query);
  EXPECT_THAT(Refusal(SmallLayer(), inputs).message(),
              ::testing::StartsWith("need_weights: expected false"));
  inputs.need_weights = false;
  inputs.query_lengths = {3, 5};
  EXPECT_TRUE(Refusal(SmallLayer(), inputs).ok());
  inputs.key_lengths = {5, 3};
  EXPECT_THAT(Refusal(SmallLayer(), inputs).message(),
              ::testing::StartsWith("key_lengths: expected none"));
  inputs.key = query.view();
  EXPECT_THAT(Refusal(SmallLayer(), inputs).message(),
              ::testing::StartsWith("key: expected none"));
}

TEST_P(EncoderTest, WithoutQueriesThereIsNothingToCompute) {
  const Tensor query(kF32, {2, 0, 24});
  AttentionInputs inputs = Inputs(query);
  inputs.need_weights = false;
  EXPECT_EQ(Run(SmallLayer(), inputs).output.shape(), (Shape{2, 0, 24}));
}

ATTENTION_INSTANTIATE_CONFORMANCE(EncoderTest);

}  // namespace
}  // namespace attention::testing
