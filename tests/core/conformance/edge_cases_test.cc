// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/core/conformance/conformance.h"

namespace attention::testing {
namespace {

constexpr std::int64_t kWidth = 12;

class EdgeCasesTest : public ConformanceTest {
 protected:
  EdgeCasesTest() {
    config_.embed_dim = kWidth;
    config_.num_heads = 3;
    config_.batch_first = true;
  }

  // A batch of `batch` sequences of L random query rows and S random keys.
  void SetSizes(std::int64_t batch, std::int64_t length, std::int64_t keys) {
    query_ = RandomTensor(DataType::kFloat32, {batch, length, kWidth}, 1);
    key_ = RandomTensor(DataType::kFloat32, {batch, keys, kWidth}, 2);
    inputs_.query = query_.view();
    inputs_.key = key_.view();
  }
  Answer Run() { return Compute(*Make(config_), config_, inputs_, pool_); }

  // The output bias, which is what zeros before out_proj become.
  std::vector<double> OutputBias() const {
    const ModuleWeights weights = MakeWeights(config_, DataType::kFloat32, 7);
    return ToDoubles(weights.layers[0].attention.output.bias->view());
  }

  MultiHeadAttentionConfig config_;
  Tensor query_, key_;
  AttentionInputs inputs_;
};

TEST_P(EdgeCasesTest, WithoutKeysTheOutputIsTheBias) {
  SetSizes(1, 2, 0);
  for (const bool need_weights : {true, false}) {
    inputs_.need_weights = need_weights;
    const std::vector<double> output = ToDoubles(Run().output.view());
    const std::vector<double> bias = OutputBias();
    EXPECT_TRUE(std::equal(bias.begin(), bias.end(), output.begin()));
  }
}

TEST_P(EdgeCasesTest, WithoutKeysTheWeightsAreEmpty) {
  SetSizes(2, 3, 0);
  EXPECT_EQ(Run().weights->shape(), (Shape{2, 3, 0}));
}

TEST_P(EdgeCasesTest, WithoutQueriesTheOutputIsEmpty) {
  SetSizes(2, 0, 4);
  const Answer answer = Run();
  EXPECT_EQ(answer.output.shape(), (Shape{2, 0, kWidth}));
  EXPECT_EQ(answer.weights->shape(), (Shape{2, 0, 4}));
}

TEST_P(EdgeCasesTest, WithoutSequencesTheOutputIsEmpty) {
  SetSizes(0, 3, 4);
  EXPECT_EQ(Run().output.shape(), (Shape{0, 3, kWidth}));
}

TEST_P(EdgeCasesTest, OneKeyGetsAllTheWeight) {
  SetSizes(1, 1, 1);
  EXPECT_EQ(Run().weights->data<float>()[0], 1.0F);
}

TEST_P(EdgeCasesTest, AppendedKeysAreVisibleColumnsAtTheEnd) {
  config_.add_bias_kv = true;
  config_.add_zero_attn = true;
  SetSizes(1, 2, 3);
  Tensor mask(DataType::kBool, {2, 3});
  std::ranges::fill(mask.data<bool>(), true);
  inputs_.attn_mask = mask.view();
  const Answer answer = Run();

  ASSERT_EQ(answer.weights->shape(), (Shape{1, 2, 5}));
  for (std::size_t i = 0; i < 2; ++i) {
    const float* row = answer.weights->data<float>().data() + i * 5;
    EXPECT_EQ(row[0] + row[1] + row[2], 0.0F);
    EXPECT_NEAR(row[3] + row[4], 1.0F, 1e-6F);
  }
}

TEST_P(EdgeCasesTest, IsCausalShortcutHidesAppendedColumns) {
  config_.add_zero_attn = true;
  SetSizes(1, 2, 2);
  Tensor mask(DataType::kBool, {2, 2});
  std::ranges::fill(mask.data<bool>(), false);
  inputs_.attn_mask = mask.view();
  inputs_.is_causal = true;
  inputs_.need_weights = false;
  const Answer shortcut = Run();
  // Row 0 sees key 0 alone, so a causal pass without the zero row agrees.
  config_.add_zero_attn = false;
  inputs_.is_causal = false;
  inputs_.attn_mask.reset();
  inputs_.causal = Causal::kTopLeft;
  EXPECT_TRUE(IsClose(shortcut.output.view(), Run().output.view()));
}

// Row 1 of 2 sees nothing, by attn_mask.
class MaskedRowTest : public EdgeCasesTest {
 protected:
  MaskedRowTest() {
    SetSizes(1, 2, 3);
    std::ranges::fill(mask_.data<bool>(), false);
    std::fill_n(mask_.data<bool>().data() + 3, 3, true);
    inputs_.attn_mask = mask_.view();
  }
  void ExpectRow(const Answer& answer, bool is_nan) {
    const std::vector<double> output = ToDoubles(answer.output.view());
    const std::vector<double> bias = OutputBias();
    for (std::size_t e = 0; e < kWidth; ++e) {
      EXPECT_FALSE(std::isnan(output[e]));
      if (is_nan) {
        EXPECT_TRUE(std::isnan(output[kWidth + e]));
      } else {
        EXPECT_EQ(output[kWidth + e], bias[e]);
      }
    }
    if (!answer.weights) return;
    for (std::size_t j = 3; j < 6; ++j) {
      const float weight = answer.weights->data<float>()[j];
      EXPECT_TRUE(is_nan ? std::isnan(weight) : weight == 0.0F) << weight;
    }
  }

  Tensor mask_{DataType::kBool, {2, 3}};
};

TEST_P(MaskedRowTest, IsNaNForTorchWithWeights) { ExpectRow(Run(), true); }

TEST_P(MaskedRowTest, IsZeroForTorchWithoutWeights) {
  inputs_.need_weights = false;
  ExpectRow(Run(), false);
}

TEST_P(MaskedRowTest, IsZeroWhenAskedFor) {
  inputs_.masked_row_policy = MaskedRowPolicy::kZero;
  ExpectRow(Run(), false);
}

TEST_P(MaskedRowTest, IsNaNWhenAskedFor) {
  inputs_.masked_row_policy = MaskedRowPolicy::kNaN;
  inputs_.need_weights = false;
  ExpectRow(Run(), true);
}

TEST_P(MaskedRowTest, MasksAllColumnsOfAllHeadsWhenEveryKeyIsPadding) {
  Tensor padding(DataType::kBool, {1, 3});
  std::ranges::fill(padding.data<bool>(), true);
  inputs_.key_padding_mask = padding.view();
  inputs_.average_attn_weights = false;
  const Answer answer = Run();
  for (const double value : ToDoubles(answer.weights->view())) {
    EXPECT_TRUE(std::isnan(value));
  }
  for (const double value : ToDoubles(answer.output.view())) {
    EXPECT_TRUE(std::isnan(value));
  }
}

TEST_P(EdgeCasesTest, NaNInOneQueryRowStaysInIt) {
  SetSizes(1, 3, 4);
  query_.data<float>()[kWidth + 1] = std::numeric_limits<float>::quiet_NaN();
  const Answer answer = Run();
  const std::vector<double> output = ToDoubles(answer.output.view());
  const std::vector<double> weights = ToDoubles(answer.weights->view());
  for (std::size_t i = 0; i < output.size(); ++i) {
    EXPECT_EQ(std::isnan(output[i]), i / kWidth == 1) << i;
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_EQ(std::isnan(weights[i]), i / 4 == 1) << i;
  }
}

TEST_P(EdgeCasesTest, HugeLogitsStayFinite) {
  SetSizes(1, 4, 6);
  for (float& value : query_.data<float>()) value *= 1e4F;
  for (const double value : ToDoubles(Run().output.view())) {
    EXPECT_TRUE(std::isfinite(value));
  }
}

TEST_P(EdgeCasesTest, OneFeaturePerHeadWorks) {
  config_.num_heads = kWidth;
  SetSizes(2, 5, 7);
  inputs_.average_attn_weights = false;
  EXPECT_EQ(Run().weights->shape(), (Shape{2, kWidth, 5, 7}));
}

TEST_P(EdgeCasesTest, RaggedWeightsAreZeroBeyondEachSequence) {
  inputs_.query_lengths = {2, 3};
  query_ = RandomTensor(DataType::kFloat32, {5, kWidth}, 1);
  inputs_.query = query_.view();
  const Answer answer = Run();
  ASSERT_EQ(answer.weights->shape(), (Shape{2, 3, 3}));
  const auto weights = answer.weights->data<float>();
  for (const std::size_t hidden : {2U, 5U, 6U, 7U, 8U}) {
    EXPECT_EQ(weights[hidden], 0.0F);
  }
  EXPECT_NEAR(weights[0] + weights[1], 1.0F, 1e-6F);
}

TEST_P(EdgeCasesTest, RowLengthsHideLaterKeys) {
  SetSizes(1, 2, 4);
  Tensor lens(DataType::kInt32, {1, 2});
  lens.data<std::int32_t>()[0] = 1;
  lens.data<std::int32_t>()[1] = 3;
  inputs_.valid_lens = lens.view();
  const Answer answer = Run();
  const auto weights = answer.weights->data<float>();
  EXPECT_EQ(weights[0], 1.0F);
  EXPECT_EQ(weights[1] + weights[2] + weights[3], 0.0F);
  EXPECT_GT(weights[6], 0.0F);
  EXPECT_EQ(weights[7], 0.0F);
}

// Heads of 5 features are padded where computing is in bfloat16. Each test has
// a pool whose scratch no other request has made grow.
class EmptyRequestTest : public ConformanceTest {
 protected:
  void ExpectAnswer(std::int64_t batch, std::int64_t length,
                    std::int64_t keys) {
    constexpr std::int64_t kEmbedDim = 10;  // two heads of 5
    MultiHeadAttentionConfig projected = {.embed_dim = kEmbedDim,
                                          .num_heads = 2};
    projected.batch_first = true;
    const ScaledDotProductAttentionConfig bare = {.num_heads = 2,
                                                  .head_dim = 5};
    const Tensor query =
        RandomTensor(DataType::kFloat32, {batch, length, kEmbedDim}, 1);
    const Tensor key =
        RandomTensor(DataType::kFloat32, {batch, keys, kEmbedDim}, 2);
    AttentionInputs inputs;
    inputs.query = query.view();
    inputs.key = inputs.value = key.view();
    for (const ModuleConfig& config :
         {ModuleConfig(projected), ModuleConfig(bare)}) {
      for (const bool need_weights : {false, true}) {
        inputs.need_weights = need_weights;
        const Answer answer =
            Compute(*GetParam().make(
                        config, MakeWeights(config, DataType::kFloat32, 7)),
                    config, inputs, pool_);
        EXPECT_EQ(answer.output.shape(), (Shape{batch, length, kEmbedDim}));
      }
    }
  }
};

TEST_P(EmptyRequestTest, MayHaveNoSequences) { ExpectAnswer(0, 3, 4); }

TEST_P(EmptyRequestTest, MayHaveNoQueries) { ExpectAnswer(2, 0, 4); }

TEST_P(EmptyRequestTest, MayHaveNoKeys) { ExpectAnswer(2, 3, 0); }

TEST_P(EmptyRequestTest, MayHaveNeitherQueriesNorKeys) {
  ExpectAnswer(2, 0, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Implementations, EmptyRequestTest, ::testing::ValuesIn(InvariantKinds()),
    [](const ::testing::TestParamInfo<ImplementationKind>& parameter) {
      return parameter.param.name;
    });

ATTENTION_INSTANTIATE_CONFORMANCE(EdgeCasesTest);
ATTENTION_INSTANTIATE_CONFORMANCE(MaskedRowTest);

}  // namespace
}  // namespace attention::testing
