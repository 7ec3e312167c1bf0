// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

#include "tests/core/conformance/family.h"
#include "tests/core/conformance/zero_scores.h"

namespace attention::testing {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kLog2 = std::numbers::ln2_v<float>;
constexpr float kLog3 = 1.0986123F;
constexpr float kLog4 = 2.0F * kLog2;

using MasksTest = ZeroScoresTest;

// Matrix n * H + h lets only column n * H + h through.
TEST_P(MasksTest, ThreeDimensionalMaskHasOneMatrixForEachHeadOfEachSequence) {
  SetSizes(2, 1, 4);
  inputs_.average_attn_weights = false;
  inputs_.attn_mask = Keep({4, 1, 4}, std::vector{false, true, true, true,  //
                                                  true, false, true, true,  //
                                                  true, true, false, true,  //
                                                  true, true, true, false});
  ExpectWeights({1, 0, 0, 0,    // n 0, h 0
                 0, 1, 0, 0,    // n 0, h 1
                 0, 0, 1, 0,    // n 1, h 0
                 0, 0, 0, 1});  // n 1, h 1
}

TEST_P(MasksTest, AdditiveThreeDimensionalMaskIsAddedMatrixByMatrix) {
  SetSizes(2, 1, 2);
  inputs_.average_attn_weights = false;
  inputs_.attn_mask = Keep({4, 1, 2}, std::vector{0.0F, 0.0F, kLog2, 0.0F,
                                                  kLog3, 0.0F, kLog4, 0.0F});
  ExpectWeights({1.0 / 2, 1.0 / 2,    // n 0, h 0
                 2.0 / 3, 1.0 / 3,    // n 0, h 1
                 3.0 / 4, 1.0 / 4,    // n 1, h 0
                 4.0 / 5, 1.0 / 5});  // n 1, h 1
}

TEST_P(MasksTest, TopLeftCausalLeavesAppendedColumnsVisible) {
  config_.add_bias_kv = true;
  config_.add_zero_attn = true;
  SetSizes(1, 2, 3);
  inputs_.causal = Causal::kTopLeft;
  ExpectWeights({1.0 / 3, 0, 0, 1.0 / 3, 1.0 / 3,  //
                 1.0 / 4, 1.0 / 4, 0, 1.0 / 4, 1.0 / 4});
}

TEST_P(MasksTest, BottomRightCausalLeavesAppendedColumnsVisible) {
  config_.add_bias_kv = true;
  config_.add_zero_attn = true;
  SetSizes(1, 3, 2);  // row 0 sees no key
  inputs_.causal = Causal::kBottomRight;
  ExpectWeights({0, 0, 1.0 / 2, 1.0 / 2,        //
                 1.0 / 3, 0, 1.0 / 3, 1.0 / 3,  //
                 1.0 / 4, 1.0 / 4, 1.0 / 4, 1.0 / 4});
}

TEST_P(MasksTest, AdditiveKeyPaddingMaskIsAddedToItsSequence) {
  SetSizes(2, 1, 3);
  inputs_.key_padding_mask =
      Keep({2, 3}, std::vector{0.0F, kLog2, kLog4, kLog4, kLog2, kLog2});
  ExpectWeights({1.0 / 7, 2.0 / 7, 4.0 / 7, 4.0 / 8, 2.0 / 8, 2.0 / 8});
}

TEST_P(MasksTest, AdditiveMasksAddUp) {
  SetSizes(1, 2, 3);
  inputs_.attn_mask =
      Keep({2, 3}, std::vector{kLog3, 0.0F, 0.0F, 0.0F, kLog2, kLog3});
  inputs_.key_padding_mask =
      Keep({1, 3}, std::vector{0.0F, kLog2, kMinusInfinity});
  ExpectWeights({3.0 / 5, 2.0 / 5, 0, 1.0 / 5, 4.0 / 5, 0});
}

TEST_P(MasksTest, BoolAttnMaskGoesWithAdditivePadding) {
  SetSizes(1, 2, 3);
  inputs_.attn_mask =
      Keep({2, 3}, std::vector{false, true, false, false, false, false});
  inputs_.key_padding_mask = Keep({1, 3}, std::vector{0.0F, kLog2, kLog3});
  ExpectWeights({1.0 / 4, 0, 3.0 / 4, 1.0 / 6, 2.0 / 6, 3.0 / 6});
}

TEST_P(MasksTest, AdditiveAttnMaskGoesWithBoolPadding) {
  SetSizes(1, 2, 3);
  inputs_.attn_mask =
      Keep({2, 3}, std::vector{kLog2, 0.0F, 0.0F, 0.0F, 0.0F, kLog3});
  inputs_.key_padding_mask = Keep({1, 3}, std::vector{false, true, false});
  ExpectWeights({2.0 / 3, 0, 1.0 / 3, 1.0 / 4, 0, 3.0 / 4});
}

TEST_P(MasksTest, LargeNegativeValuesHideBesideOthersButNotAlone) {
  SetSizes(1, 2, 3);
  inputs_.attn_mask =
      Keep({2, 3}, std::vector{-1e9F, 0.0F, 0.0F, -1e9F, -1e9F, -1e9F});
  ExpectWeights({0, 1.0 / 2, 1.0 / 2, 1.0 / 3, 1.0 / 3, 1.0 / 3});
}

TEST_P(MasksTest, FiniteValuesAreNoPadding) {
  SetSizes(1, 1, 2);
  inputs_.key_padding_mask = Keep({1, 2}, std::vector{-3e38F, -3e38F});
  ExpectWeights({1.0 / 2, 1.0 / 2});
}

TEST_P(MasksTest, SequenceLengthsMayBeAnyInteger) {
  SetSizes(4, 1, 2);
  using Limits = std::numeric_limits<std::int64_t>;
  inputs_.valid_lens =
      Keep({4}, std::vector<std::int64_t>{Limits::min(), -1, 1, Limits::max()});
  ExpectWeights({kNaN, kNaN, kNaN, kNaN, 1, 0, 1.0 / 2, 1.0 / 2});
}

TEST_P(MasksTest, RowLengthsMayBeAnyInt64) {
  SetSizes(1, 5, 2);
  using Limits = std::numeric_limits<std::int64_t>;
  inputs_.valid_lens =
      Keep({1, 5},
           std::vector<std::int64_t>{Limits::min(), -1, 0, 1, Limits::max()});
  ExpectWeights({kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, 1, 0, 1.0 / 2, 1.0 / 2});
}

TEST_P(MasksTest, RowLengthsMayBeAnyInt32) {
  SetSizes(1, 5, 2);
  using Limits = std::numeric_limits<std::int32_t>;
  inputs_.valid_lens =
      Keep({1, 5},
           std::vector<std::int32_t>{Limits::min(), -1, 0, 1, Limits::max()});
  ExpectWeights({kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, 1, 0, 1.0 / 2, 1.0 / 2});
}

TEST_P(MasksTest, LengthsLeaveAppendedColumnsVisible) {
  config_.add_zero_attn = true;
  SetSizes(1, 2, 2);
  inputs_.valid_lens = Keep({1, 2}, std::vector<std::int64_t>{-1, 1});
  ExpectWeights({0, 0, 1, 1.0 / 2, 0, 1.0 / 2});
}

using CausalShortcutTest = FamilyTest;

// is_causal lets row i see keys up to i, and `causal` up to i - 65: both hold.
TEST_P(CausalShortcutTest, GoesWithBottomRightCausality) {
  constexpr std::int64_t kLength = 70;
  constexpr std::int64_t kKeys = 5;
  const Tensor query = RandomTensor(kF32, {1, kLength, 12}, 1);
  const Tensor key = RandomTensor(kF32, {1, kKeys, 12}, 2);
  Tensor mask(DataType::kBool, {kLength, kKeys});
  std::ranges::fill(mask.data<bool>(), false);
  AttentionInputs inputs = Inputs(query, key, key);
  inputs.attn_mask = mask.view();
  inputs.is_causal = true;
  inputs.need_weights = false;
  inputs.causal = Causal::kBottomRight;
  ExpectAsReference(
      MultiHeadAttentionConfig{
          .embed_dim = 12, .num_heads = 3, .batch_first = true},
      inputs);
}

ATTENTION_INSTANTIATE_CONFORMANCE(MasksTest);
ATTENTION_INSTANTIATE_CONFORMANCE(CausalShortcutTest);

}  // namespace
}  // namespace attention::testing
