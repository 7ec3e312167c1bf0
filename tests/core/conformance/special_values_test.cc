// SPDX-License-Identifier: Apache-2.0
// Values that are no ordinary numbers: every path gives what the reference
// gives, NaN where it has NaN. 700 keys make two blocks of the fused path.
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/conformance/family.h"

namespace attention::testing {
namespace {

using Limits = std::numeric_limits<float>;
constexpr float kInfinity = Limits::infinity();
constexpr float kNaN = Limits::quiet_NaN();
constexpr std::array kSpecial = {1e-40F,     kNaN,  kInfinity,
                                 -kInfinity, 1e30F, -1e30F};

class SpecialValuesTest : public FamilyTest {
 protected:
  static constexpr std::int64_t kKeys = 700;
  static constexpr std::int64_t kWidth = 16;

  SpecialValuesTest() { SetSizes(5, kKeys); }

  void SetSizes(std::int64_t length, std::int64_t keys) {
    query_ = RandomTensor(kF32, {1, length, kWidth}, 1);
    key_ = RandomTensor(kF32, {1, keys, kWidth}, 2);
    value_ = RandomTensor(kF32, {1, keys, kWidth}, 3);
    inputs_ = Inputs(query_, key_, value_);
    inputs_.average_attn_weights = false;
  }
  // With `value` in one element, and without weights as well as with.
  void ExpectAsReferenceWith(Tensor& tensor, std::int64_t row, float value) {
    SCOPED_TRACE(::testing::Message() << value << " in row " << row);
    float& element =
        tensor.data<float>()[static_cast<std::size_t>(row * kWidth + 3)];
    const float before = std::exchange(element, value);
    ExpectAsReferenceEitherWay();
    element = before;
  }
  void ExpectAsReferenceEitherWay() {
    for (const bool need_weights : {false, true}) {
      SCOPED_TRACE(need_weights ? "with weights" : "without weights");
      inputs_.need_weights = need_weights;
      ExpectAsReference(config_, inputs_);
    }
  }

  // Grouped heads without projections: a value stays where it is put.
  const ScaledDotProductAttentionConfig bare_ = {.num_heads = 2, .head_dim = 8};
  const MultiHeadAttentionConfig projected_ = {
      .embed_dim = kWidth, .num_heads = 2, .batch_first = true};
  ModuleConfig config_ = bare_;
  Tensor query_, key_, value_;
  AttentionInputs inputs_;
};

TEST_P(SpecialValuesTest, InQueriesReachTheirRowAlone) {
  for (const ModuleConfig& config :
       {ModuleConfig(bare_), ModuleConfig(projected_)}) {
    config_ = config;
    for (const float value : kSpecial) ExpectAsReferenceWith(query_, 3, value);
  }
}

TEST_P(SpecialValuesTest, InKeysReachWhatTheReferenceSays) {
  for (const std::int64_t row : {0, 63, 64, 511, 512, 699}) {
    for (const float value : kSpecial) ExpectAsReferenceWith(key_, row, value);
  }
}

TEST_P(SpecialValuesTest, InValuesReachWhatTheReferenceSays) {
  for (const std::int64_t row : {0, 63, 64, 511, 512, 699}) {
    for (const float value : kSpecial) {
      ExpectAsReferenceWith(value_, row, value);
    }
  }
}

TEST_P(SpecialValuesTest, AreProjectedAsTheReferenceDoes) {
  config_ = projected_;
  for (const std::int64_t row : {0, 699}) {
    for (const float value : {1e-40F, kNaN, kInfinity, -kInfinity}) {
      ExpectAsReferenceWith(key_, row, value);
      ExpectAsReferenceWith(value_, row, value);
    }
  }
}

TEST_P(SpecialValuesTest, InTheFutureFollowTheFormula) {
  for (const auto& [length, keys] :
       {std::pair(130, 130), {40, 600}, {600, 600}}) {
    SetSizes(length, keys);
    for (const Causal causal : {Causal::kTopLeft, Causal::kBottomRight}) {
      inputs_.causal = causal;
      for (const std::int64_t row : {20, 100, 127}) {
        for (const float value : {kNaN, kInfinity, -kInfinity}) {
          SCOPED_TRACE(::testing::Message() << length << " x " << keys);
          ExpectAsReferenceWith(key_, row, value);
          ExpectAsReferenceWith(value_, row, value);
        }
      }
    }
  }
}

// An infinite query makes infinities of hidden scores too, of which hiding
// makes NaN; and of visible ones, in early rows of one sign at times.
TEST_P(SpecialValuesTest, InQueriesBeforeTheFutureFollowTheFormula) {
  for (const ModuleConfig& config :
       {ModuleConfig(bare_), ModuleConfig(projected_)}) {
    config_ = config;
    for (const auto& [length, keys] : {std::pair(130, 130), {40, 600}}) {
      SetSizes(length, keys);
      for (const Causal causal : {Causal::kTopLeft, Causal::kBottomRight}) {
        SCOPED_TRACE(::testing::Message() << length << " x " << keys);
        inputs_.causal = causal;
        for (const std::int64_t row : {0, 1, 20}) {
          for (const float value : {kNaN, kInfinity, -kInfinity}) {
            ExpectAsReferenceWith(query_, row, value);
          }
        }
      }
    }
  }
}

// torch's is_causal shortcut hides the appended column from all 200 rows, but
// not by the formula: 0 * NaN is NaN.
TEST_P(SpecialValuesTest, InHiddenAppendedColumnsFollowTheFormula) {
  constexpr std::int64_t kLength = 200;
  SetSizes(kLength, kLength);
  Tensor mask(DataType::kBool, {kLength, kLength});
  std::ranges::fill(mask.data<bool>(), false);
  inputs_.attn_mask = mask.view();
  inputs_.is_causal = true;
  inputs_.need_weights = false;
  MultiHeadAttentionConfig config = projected_;
  config.add_bias_kv = true;
  for (const bool in_keys : {false, true}) {
    for (const float value : {kNaN, kInfinity, -kInfinity}) {
      SCOPED_TRACE(::testing::Message()
                   << value << " in bias_" << (in_keys ? "k" : "v"));
      const auto compute = [&](const ImplementationKind& kind) {
        ModuleWeights weights = MakeWeights(config, kF32, 7);
        AttentionWeights& attention = weights.layers[0].attention;
        (in_keys ? attention.bias_k : attention.bias_v)->data<float>()[3] =
            value;
        return Compute(*kind.make(config, std::move(weights)), config, inputs_,
                       pool_);
      };
      EXPECT_TRUE(IsClose(compute(GetParam()).output.view(),
                          compute(ReferenceKind()).output.view()));
    }
  }
}

TEST_P(SpecialValuesTest, BehindAnAttnMaskFollowTheFormula) {
  Tensor hidden(DataType::kBool, {5, kKeys});
  for (const std::int64_t column : {5, 600}) {
    std::ranges::fill(hidden.data<bool>(), false);
    for (const std::size_t row : {0U, 2U, 3U}) {
      hidden.data<bool>()[row * kKeys + static_cast<std::size_t>(column)] =
          true;
    }
    inputs_.attn_mask = hidden.view();
    for (const float value : {kNaN, kInfinity, -kInfinity}) {
      ExpectAsReferenceWith(key_, column, value);
      ExpectAsReferenceWith(value_, column, value);
    }
  }
}

TEST_P(SpecialValuesTest, InFloatMasksFollowTheFormula) {
  constexpr std::array kValues = {-kInfinity, Limits::lowest(), kInfinity,
                                  kNaN,       1e-40F,           1e30F};
  for (const std::size_t column : {0U, 511U, 512U, 699U}) {
    for (const float value : kValues) {
      SCOPED_TRACE(::testing::Message() << value << " in column " << column);
      Tensor mask(kF32, {5, kKeys});
      std::ranges::fill(mask.data<float>(), 0.0F);
      mask.data<float>()[2 * kKeys + column] = value;
      inputs_.attn_mask = mask.view();
      ExpectAsReferenceEitherWay();
      inputs_.attn_mask.reset();
      mask = Tensor(kF32, {1, kKeys});
      std::ranges::fill(mask.data<float>(), 0.0F);
      mask.data<float>()[column] = value;
      inputs_.key_padding_mask = mask.view();
      ExpectAsReferenceEitherWay();
      inputs_.key_padding_mask.reset();
    }
  }
}

TEST_P(SpecialValuesTest, InAWholeRowOfAFloatMaskFollowTheFormula) {
  for (const float value : {-kInfinity, Limits::lowest(), kInfinity, kNaN}) {
    SCOPED_TRACE(value);
    Tensor mask(kF32, {5, kKeys});
    std::ranges::fill(mask.data<float>(), 0.0F);
    std::fill_n(mask.data<float>().data() + 2 * kKeys, kKeys, value);
    inputs_.attn_mask = mask.view();
    ExpectAsReferenceEitherWay();
    // All but one, in the second block.
    mask.data<float>()[2 * kKeys + 650] = 0.0F;
    ExpectAsReferenceEitherWay();
  }
}

TEST_P(SpecialValuesTest, InPaddingChangeNothing) {
  Tensor padding(DataType::kBool, {1, kKeys});
  for (std::size_t j = 0; j < kKeys; ++j) {
    padding.data<bool>()[j] = j % 7 == 3 || j >= 650;
  }
  inputs_.key_padding_mask = padding.view();
  for (const ModuleConfig& config :
       {ModuleConfig(bare_), ModuleConfig(projected_)}) {
    const Answer want = Run(config, inputs_);
    for (const float value : kSpecial) {
      Tensor key = key_.Clone();
      Tensor values = value_.Clone();
      for (std::size_t j = 0; j < kKeys; ++j) {
        if (!padding.data<bool>()[j]) continue;
        std::fill_n(key.data<float>().data() + j * kWidth, kWidth, value);
        std::fill_n(values.data<float>().data() + j * kWidth, kWidth, value);
      }
      AttentionInputs inputs = inputs_;
      inputs.key = key.view();
      inputs.value = values.view();
      const Answer got = Run(config, inputs);
      EXPECT_TRUE(IsIdentical(got.output.view(), want.output.view())) << value;
      EXPECT_TRUE(IsIdentical(got.weights->view(), want.weights->view()));
    }
  }
}

// Row 2 of 5, or every row, sees none of 700 keys.
class WholeRowMaskedTest : public SpecialValuesTest {
 protected:
  void ExpectUnderEveryPolicy() {
    for (const ModuleConfig& config :
         {ModuleConfig(bare_), ModuleConfig(projected_)}) {
      config_ = config;
      for (const MaskedRowPolicy policy :
           {MaskedRowPolicy::kTorch, MaskedRowPolicy::kZero,
            MaskedRowPolicy::kNaN}) {
        SCOPED_TRACE("policy " + std::to_string(static_cast<int>(policy)));
        inputs_.masked_row_policy = policy;
        for (const bool average : {false, true}) {
          inputs_.average_attn_weights = average;
          ExpectAsReferenceEitherWay();
        }
      }
    }
  }
};

TEST_P(WholeRowMaskedTest, ByABoolAttnMask) {
  Tensor mask(DataType::kBool, {5, kKeys});
  std::ranges::fill(mask.data<bool>(), false);
  std::fill_n(mask.data<bool>().data() + 2 * kKeys, kKeys, true);
  inputs_.attn_mask = mask.view();
  ExpectUnderEveryPolicy();
}

TEST_P(WholeRowMaskedTest, ByAFloatAttnMask) {
  Tensor mask(kF32, {5, kKeys});
  std::ranges::fill(mask.data<float>(), 0.0F);
  std::fill_n(mask.data<float>().data() + 2 * kKeys, kKeys, -kInfinity);
  inputs_.attn_mask = mask.view();
  ExpectUnderEveryPolicy();
}

TEST_P(WholeRowMaskedTest, ByABoolKeyPaddingMask) {
  Tensor mask(DataType::kBool, {1, kKeys});
  std::ranges::fill(mask.data<bool>(), true);
  inputs_.key_padding_mask = mask.view();
  ExpectUnderEveryPolicy();
}

TEST_P(WholeRowMaskedTest, ByAFloatKeyPaddingMask) {
  Tensor mask(kF32, {1, kKeys});
  std::ranges::fill(mask.data<float>(), -kInfinity);
  inputs_.key_padding_mask = mask.view();
  ExpectUnderEveryPolicy();
}

TEST_P(WholeRowMaskedTest, ByPaddingAndAttnMaskTogether) {
  Tensor padding(DataType::kBool, {1, kKeys});
  Tensor mask(DataType::kBool, {5, kKeys});
  std::ranges::fill(mask.data<bool>(), false);
  for (std::size_t j = 0; j < kKeys; ++j) {
    padding.data<bool>()[j] = j % 2 == 0;
    mask.data<bool>()[2 * kKeys + j] = j % 2 == 1;
  }
  inputs_.key_padding_mask = padding.view();
  inputs_.attn_mask = mask.view();
  ExpectUnderEveryPolicy();
}

TEST_P(WholeRowMaskedTest, ByALengthOfZero) {
  const Tensor lens = Integers({1}, {0});
  inputs_.valid_lens = lens.view();
  ExpectUnderEveryPolicy();
}

TEST_P(WholeRowMaskedTest, ByARowsLengthOfZero) {
  const Tensor lens = Integers({1, 5}, {700, 512, 0, 513, 1});
  inputs_.valid_lens = lens.view();
  ExpectUnderEveryPolicy();
}

TEST_P(WholeRowMaskedTest, ByCausality) {
  SetSizes(710, kKeys);  // rows 0 to 9 see nothing
  inputs_.causal = Causal::kBottomRight;
  ExpectUnderEveryPolicy();
}

ATTENTION_INSTANTIATE_CONFORMANCE(SpecialValuesTest);
ATTENTION_INSTANTIATE_CONFORMANCE(WholeRowMaskedTest);

}  // namespace
}  // namespace attention::testing
