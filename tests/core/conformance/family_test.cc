// SPDX-License-Identifier: Apache-2.0
// The kinds of modules beside torch.nn.MultiheadAttention, on both
// implementations. PyTorch itself judges them in tests/pytorch.
#include "tests/core/conformance/family.h"

#include <gmock/gmock.h>

#include <numeric>
#include <vector>

namespace attention::testing {
namespace {

// Dive into Deep Learning, section 11.3: keys that are all alike give the mean
// of the valid values.
TEST_P(FamilyTest, IdenticalKeysAverageTheValidValues) {
  const ModuleConfig configs[] = {
      ScaledDotProductAttentionConfig{
          .num_heads = 1, .head_dim = 2, .value_head_dim = 4},
      D2lDotProductAttentionConfig{.query_size = 2, .value_size = 4}};
  const Tensor query = RandomTensor(kF32, {2, 1, 2}, 1);
  Tensor key(kF32, {2, 10, 2});
  std::ranges::fill(key.data<float>(), 1.0F);
  Tensor value(kF32, {2, 10, 4});
  std::iota(value.data<float>().begin(), value.data<float>().begin() + 40,
            0.0F);
  std::iota(value.data<float>().begin() + 40, value.data<float>().end(), 0.0F);
  const Tensor lens = Integers({2}, {2, 6});
  AttentionInputs inputs = Inputs(query, key, value);
  inputs.valid_lens = lens.view();

  for (const ModuleConfig& config : configs) {
    const Answer answer = Run(config, inputs);

    EXPECT_EQ(answer.output.shape(), (Shape{2, 1, 4}));
    EXPECT_THAT(answer.output.data<float>(),
                ::testing::Pointwise(::testing::FloatNear(1e-5F),
                                     {2, 3, 4, 5, 10, 11, 12, 13}));
  }
}

TEST_P(FamilyTest, D2lGivesAllKeysOneWeightWhereNoneIsValid) {
  const D2lMultiHeadAttentionConfig config = {
      .num_hiddens = 8, .num_heads = 2, .query_size = 3, .key_size = 5};
  const Tensor query = RandomTensor(kF32, {2, 3, 3}, 1);
  const Tensor key = RandomTensor(kF32, {2, 4, 5}, 2);
  const Tensor value = RandomTensor(kF32, {2, 4, 8}, 3);
  const Tensor lens = Integers({2, 3}, {4, 0, 2, 1, 1, 3});
  AttentionInputs inputs = Inputs(query, key, value);
  inputs.valid_lens = lens.view();
  inputs.average_attn_weights = false;

  const Answer answer = Run(config, inputs);

  ASSERT_EQ(answer.weights->shape(), (Shape{2, 2, 3, 4}));
  const auto weights = answer.weights->data<float>();
  for (const std::size_t head : {0U, 1U}) {
    const auto row = [&](std::size_t n, std::size_t i) {
      return weights.subspan(((n * 2 + head) * 3 + i) * 4, 4);
    };
    EXPECT_THAT(row(0, 1), ::testing::Each(::testing::FloatEq(0.25F)));
    EXPECT_EQ(row(0, 2)[2], 0.0F);
    EXPECT_THAT(row(1, 0), ::testing::ElementsAre(1, 0, 0, 0));
  }
  ExpectAsReference(config, inputs);
}

// Without valid keys a row of d2l's averages all values, behind whatever length
// they are.
TEST_P(FamilyTest, D2lsDotProductAveragesAllValuesWhereNoKeyIsValid) {
  const D2lDotProductAttentionConfig config = {.query_size = 3,
                                               .value_size = 1};
  const Tensor query = RandomTensor(kF32, {2, 2, 3}, 1);
  const Tensor key = RandomTensor(kF32, {2, 4, 3}, 2);
  Tensor value(kF32, {2, 4, 1});
  std::iota(value.data<float>().begin(), value.data<float>().end(), 0.0F);
  AttentionInputs inputs = Inputs(query, key, value);
  for (const Tensor& lens :
       {Integers({2}, {0, -1}), Integers({2, 2}, {0, 0, -7, 0})}) {
    inputs.valid_lens = lens.view();

    const Answer answer = Run(config, inputs);

    EXPECT_THAT(
        answer.output.data<float>(),
        ::testing::Pointwise(::testing::FloatEq(), {1.5, 1.5, 5.5, 5.5}));
    ASSERT_EQ(answer.weights->shape(), (Shape{2, 2, 4}));
    EXPECT_THAT(answer.weights->data<float>(),
                ::testing::Each(::testing::FloatEq(0.25F)));
  }
}

TEST_P(FamilyTest, D2lsDotProductAgreesWithTheReference) {
  const D2lDotProductAttentionConfig config = {
      .query_size = 20, .value_size = 70, .dropout = 0.5};
  const Tensor query = RandomTensor(kF32, {2, 70, 20}, 1);
  const Tensor key = RandomTensor(kF32, {2, 600, 20}, 2);
  const Tensor value = RandomTensor(kF32, {2, 600, 70}, 3);
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < 140; ++i) lengths.push_back(i * 5 - 3);
  const Tensor by_sequence = Integers({2}, {599, 3});
  const Tensor by_row = Integers({2, 70}, lengths);
  AttentionInputs inputs = Inputs(query, key, value);
  for (const Tensor* lens : {&by_sequence, &by_row}) {
    inputs.valid_lens = lens->view();
    for (const bool training : {false, true}) {
      inputs.training = training;
      for (const bool need_weights : {false, true}) {
        inputs.need_weights = need_weights;
        ExpectAsReference(config, inputs);
      }
    }
  }
}

TEST_P(FamilyTest, D2lReturnsTheWeightsBeforeDropout) {
  const auto expect_whole_weights = [this](auto config) {
    const Tensor query = RandomTensor(kF32, {2, 5, 8}, 1);
    AttentionInputs inputs = Inputs(query);
    const Answer evaluated = Run(config, inputs);
    config.dropout = 0.5;
    inputs.training = true;

    const Answer trained = Run(config, inputs);

    EXPECT_TRUE(
        IsIdentical(trained.weights->view(), evaluated.weights->view()));
    EXPECT_FALSE(IsIdentical(trained.output.view(), evaluated.output.view()));
  };
  expect_whole_weights(
      D2lMultiHeadAttentionConfig{.num_hiddens = 8, .num_heads = 2});
  expect_whole_weights(D2lDotProductAttentionConfig{.query_size = 8});
}

TEST_P(FamilyTest, HeadsApartAreHeadsSideBySide) {
  const ScaledDotProductAttentionConfig config = {.num_heads = 4,
                                                  .num_key_value_heads = 2,
                                                  .head_dim = 8,
                                                  .value_head_dim = 5,
                                                  .scale = -0.3};
  constexpr std::int64_t kBatch = 2, kLength = 7, kKeys = 70;
  // (N, heads, length, size) from (N, length, heads * size)
  const auto apart = [](const Tensor& beside, std::int64_t heads) {
    const std::int64_t length = beside.shape().dim(1);
    const std::int64_t size = beside.shape().dim(2) / heads;
    Tensor moved(kF32, {kBatch, heads, length, size});
    std::size_t place = 0;
    for (std::int64_t n = 0; n < kBatch; ++n) {
      for (std::int64_t h = 0; h < heads; ++h) {
        for (std::int64_t i = 0; i < length; ++i) {
          for (std::int64_t d = 0; d < size; ++d) {
            moved.data<float>()[place++] =
                beside.data<float>()[static_cast<std::size_t>(
                    ((n * length + i) * heads + h) * size + d)];
          }
        }
      }
    }
    return moved;
  };
  const Tensor query = RandomTensor(kF32, {kBatch, kLength, 32}, 1);
  const Tensor key = RandomTensor(kF32, {kBatch, kKeys, 16}, 2);
  const Tensor value = RandomTensor(kF32, {kBatch, kKeys, 10}, 3);
  const Answer beside = Run(config, Inputs(query, key, value));
  const Tensor query_apart = apart(query, 4);
  const Tensor key_apart = apart(key, 2);
  const Tensor value_apart = apart(value, 2);

  const Answer got = Run(config, Inputs(query_apart, key_apart, value_apart));

  EXPECT_EQ(got.output.shape(), (Shape{kBatch, 4, kLength, 5}));
  EXPECT_TRUE(IsIdentical(got.output.view(), apart(beside.output, 4).view()));
  EXPECT_TRUE(IsIdentical(got.weights->view(), beside.weights->view()));
}

TEST_P(FamilyTest, GroupedHeadsReadTheirOwnKeys) {
  const ScaledDotProductAttentionConfig grouped = {
      .num_heads = 6, .num_key_value_heads = 2, .head_dim = 4};
  const ScaledDotProductAttentionConfig repeated = {.num_heads = 6,
                                                    .head_dim = 4};
  const Tensor query = RandomTensor(kF32, {1, 5, 24}, 1);
  const Tensor key = RandomTensor(kF32, {1, 9, 8}, 2);
  Tensor key_repeated(kF32, {1, 9, 24});
  for (std::size_t j = 0; j < 9; ++j) {
    for (std::size_t e = 0; e < 24; ++e) {
      key_repeated.data<float>()[j * 24 + e] =
          key.data<float>()[j * 8 + e / 12 * 4 + e % 4];
    }
  }

  const Answer got = Run(grouped, Inputs(query, key, key));
  const Answer want = Run(repeated, Inputs(query, key_repeated, key_repeated));

  EXPECT_TRUE(IsClose(got.output.view(), want.output.view()));
  EXPECT_TRUE(IsClose(got.weights->view(), want.weights->view()));
}

// Heads of one element, alone in their group for so many keys.
TEST_P(FamilyTest, HeadsOfOneElementAgreeWithTheReference) {
  for (const std::int64_t key_value_heads : {3, 1}) {
    const ScaledDotProductAttentionConfig config = {
        .num_heads = 3, .num_key_value_heads = key_value_heads, .head_dim = 1};
    for (const std::int64_t keys : {1, 40, 3000}) {
      const Tensor query = RandomTensor(kF32, {2, 70, 3}, 1);
      const Tensor key = RandomTensor(kF32, {2, keys, key_value_heads}, 2);
      AttentionInputs inputs = Inputs(query, key, key);
      inputs.need_weights = false;
      ExpectAsReference(config, inputs);
    }
  }
}

TEST_P(FamilyTest, MasksOfOneBroadcast) {
  const ScaledDotProductAttentionConfig config = {.num_heads = 2,
                                                  .head_dim = 4};
  const Tensor query = RandomTensor(kF32, {3, 2, 5, 4}, 1);
  const Tensor mask = RandomTensor(kF32, {3, 1, 1, 5}, 2);
  Tensor full(kF32, {6, 5, 5});
  for (std::size_t n = 0; n < 3; ++n) {
    for (std::size_t row = 0; row < 10; ++row) {
      std::ranges::copy(mask.data<float>().subspan(n * 5, 5),
                        full.data<float>().begin() +
                            static_cast<std::ptrdiff_t>((n * 10 + row) * 5));
    }
  }

  AttentionInputs inputs = Inputs(query);
  inputs.attn_mask = mask.view();
  const Answer got = Run(config, inputs);
  inputs.attn_mask = full.view();
  const Answer want = Run(config, inputs);

  EXPECT_TRUE(IsIdentical(got.output.view(), want.output.view()));
}

// A NaN that nothing but the activation could hide.
// More rows than go through the feed-forward network together, more columns
// than a slice has.
// d2l's scores of -1e6 count where another mask hides all valid keys, in
// whatever form the lengths come.
TEST_P(FamilyTest, D2lSeesReplacedKeysWhereOtherMasksHideTheValidOnes) {
  const D2lMultiHeadAttentionConfig config = {.num_hiddens = 4, .num_heads = 2};
  const Tensor query = RandomTensor(kF32, {1, 2, 4}, 1);
  const Tensor key = RandomTensor(kF32, {1, 4, 4}, 2);
  Tensor padding(DataType::kBool, {1, 4});
  for (std::size_t j = 0; j < 4; ++j) padding.data<bool>()[j] = j < 2;
  AttentionInputs inputs = Inputs(query, key, key);
  inputs.key_padding_mask = padding.view();
  for (const Tensor& lens : {Integers({1}, {2}), Integers({1, 2}, {2, 2}),
                             Integers({1, 2}, {2, 4})}) {
    inputs.valid_lens = lens.view();
    const Answer answer = Run(config, inputs);
    EXPECT_THAT(answer.weights->data<float>().first(4),
                ::testing::ElementsAre(0, 0, 0.5F, 0.5F));
  }
}

// Behind a ragged sequence's end valid_lens is padding.
TEST_P(FamilyTest, D2lReadsNoLengthsBehindARaggedSequencesEnd) {
  const D2lMultiHeadAttentionConfig config = {.num_hiddens = 4, .num_heads = 2};
  const Tensor query = RandomTensor(kF32, {4, 4}, 1);
  Tensor key = RandomTensor(kF32, {7, 4}, 2);
  key.data<float>()[3 * 4] = std::numeric_limits<float>::quiet_NaN();
  AttentionInputs inputs = Inputs(query, key, key);
  inputs.query_lengths = {1, 3};
  inputs.key_lengths = {4, 3};
  const Tensor lens = Integers({2, 3}, {3, 0, 9, 1, 2, 3});
  inputs.valid_lens = lens.view();
  EXPECT_THAT(Run(config, inputs).output.data<float>(),
              ::testing::Each(::testing::Not(::testing::IsNan())));
}

TEST(FamilyInputsTest, IsCausalIsAMaskOnlyForScaledDotProductAttention) {
  const ScaledDotProductAttentionConfig bare = {.num_heads = 1, .head_dim = 4};
  const Tensor query = RandomTensor(DataType::kFloat32, {1, 3, 4}, 1);
  AttentionInputs inputs = Inputs(query);
  inputs.is_causal = true;
  ASSERT_TRUE(ResolveRequest(bare, inputs).ok());
  EXPECT_EQ((*ResolveRequest(bare, inputs))->causal, Causal::kTopLeft);
  EXPECT_THAT(
      Refusal(D2lMultiHeadAttentionConfig{.num_hiddens = 4, .num_heads = 1},
              inputs)
          .message(),
      ::testing::StartsWith("is_causal: expected false"));
  EXPECT_THAT(
      Refusal(D2lDotProductAttentionConfig{.query_size = 4}, inputs).message(),
      ::testing::StartsWith("is_causal: expected false"));

  const Tensor mask = RandomTensor(DataType::kFloat32, {3, 3}, 2);
  inputs.attn_mask = mask.view();
  EXPECT_THAT(Refusal(bare, inputs).message(),
              ::testing::StartsWith("is_causal: expected neither"));
}

ATTENTION_INSTANTIATE_CONFORMANCE(FamilyTest);

}  // namespace
}  // namespace attention::testing
