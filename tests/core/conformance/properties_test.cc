// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "tests/core/conformance/conformance.h"

namespace attention::testing {
namespace {

class PropertiesTest : public ConformanceTest {
 protected:
  static constexpr std::size_t kLength = 37, kWidth = 24, kHeads = 4;

  PropertiesTest() {
    config_.embed_dim = kWidth;
    config_.num_heads = kHeads;
    inputs_.query = query_.view();
    inputs_.average_attn_weights = false;
  }

  MultiHeadAttentionConfig config_;
  Tensor query_ = RandomTensor(DataType::kFloat32, {kLength, kWidth}, 3);
  AttentionInputs inputs_;
};

TEST_P(PropertiesTest, WeightsOfARowSumToOne) {
  const Answer answer = Compute(*Make(config_), config_, inputs_, pool_);

  ASSERT_EQ(answer.weights->shape(), (Shape{kHeads, kLength, kLength}));
  for (std::size_t row = 0; row < kHeads * kLength; ++row) {
    double sum = 0.0;
    for (std::size_t j = 0; j < kLength; ++j) {
      sum += answer.weights->data<float>()[row * kLength + j];
    }
    EXPECT_NEAR(sum, 1.0, 1e-5);
  }
}

TEST_P(PropertiesTest, PermutingKeysPermutesWeightsAndKeepsTheOutput) {
  const auto attention = Make(config_);
  const Answer want = Compute(*attention, config_, inputs_, pool_);
  Tensor reversed(DataType::kFloat32, {kLength, kWidth});
  for (std::size_t j = 0; j < kLength; ++j) {
    std::copy_n(query_.data<float>().data() + j * kWidth, kWidth,
                reversed.data<float>().data() + (kLength - 1 - j) * kWidth);
  }
  inputs_.key = reversed.view();
  const Answer got = Compute(*attention, config_, inputs_, pool_);

  EXPECT_TRUE(IsClose(got.output.view(), want.output.view()));
  Tensor unreversed = got.weights->Clone();
  for (std::size_t row = 0; row < kHeads * kLength; ++row) {
    float* line = unreversed.data<float>().data() + row * kLength;
    std::reverse(line, line + kLength);
  }
  EXPECT_TRUE(IsClose(unreversed.view(), want.weights->view()));
}

TEST_P(PropertiesTest, HeadsAreConsecutiveSlicesOfTheFeatures) {
  // Zero all of W_v but head 2's rows: only head 2 contributes, so the output
  // is that of a module whose out_proj sees nothing else.
  ModuleWeights weights = MakeWeights(config_, DataType::kFloat32, 7);
  ModuleWeights silenced = MakeWeights(config_, DataType::kFloat32, 7);
  constexpr std::size_t kHeadDim = kWidth / kHeads;
  for (std::size_t e = 0; e < kWidth; ++e) {
    if (e / kHeadDim == 2) continue;
    for (std::size_t i = 0; i < kWidth; ++i) {
      weights.layers[0].attention.value.weight.data<float>()[e * kWidth + i] =
          0.0F;
      silenced.layers[0].attention.output.weight.data<float>()[i * kWidth + e] =
          0.0F;
    }
    weights.layers[0].attention.value.bias->data<float>()[e] = 0.0F;
  }
  const Answer got = Compute(*GetParam().make(config_, std::move(weights)),
                             config_, inputs_, pool_);
  const Answer want = Compute(*GetParam().make(config_, std::move(silenced)),
                              config_, inputs_, pool_);

  EXPECT_TRUE(IsClose(got.output.view(), want.output.view()));
  EXPECT_TRUE(IsClose(got.weights->view(), want.weights->view()));
}

TEST_P(PropertiesTest, CausalRowsDoNotSeeLaterOnes) {
  const auto attention = Make(config_);
  inputs_.causal = Causal::kTopLeft;
  const Answer want = Compute(*attention, config_, inputs_, pool_);
  constexpr std::size_t kPrefix = 20;
  std::fill(query_.data<float>().begin() + kPrefix * kWidth,
            query_.data<float>().end(), 5.0F);
  const Answer got = Compute(*attention, config_, inputs_, pool_);

  const Shape prefix = {kPrefix, kWidth};
  EXPECT_TRUE(
      IsIdentical({got.output.view().data, DataType::kFloat32, prefix},
                  {want.output.view().data, DataType::kFloat32, prefix}));
}

TEST_P(PropertiesTest, BottomRightCausalLetsTheLastRowSeeEverything) {
  inputs_.causal = Causal::kBottomRight;
  const TensorView key = inputs_.query;
  inputs_.key = key;
  inputs_.query = {query_.view().data, DataType::kFloat32, {3, kWidth}};
  const Answer answer = Compute(*Make(config_), config_, inputs_, pool_);

  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < kLength; ++j) {
      const float weight = answer.weights->data<float>()[i * kLength + j];
      EXPECT_EQ(weight > 0.0F, j <= i + kLength - 3) << i << ", " << j;
    }
  }
}

TEST_P(PropertiesTest, AveragedWeightsAreTheMeanOverHeads) {
  const auto attention = Make(config_);
  const Answer heads = Compute(*attention, config_, inputs_, pool_);
  inputs_.average_attn_weights = true;
  const Answer averaged = Compute(*attention, config_, inputs_, pool_);

  Tensor mean(DataType::kFloat32, {kLength, kLength});
  for (std::size_t i = 0; i < kLength * kLength; ++i) {
    float sum = 0.0F;
    for (std::size_t h = 0; h < kHeads; ++h) {
      sum += heads.weights->data<float>()[h * kLength * kLength + i];
    }
    mean.data<float>()[i] = sum / kHeads;
  }
  EXPECT_TRUE(IsClose(averaged.weights->view(), mean.view()));
  EXPECT_TRUE(IsIdentical(averaged.output.view(), heads.output.view()));
}

TEST_P(PropertiesTest, DropoutZeroesOrScalesEachWeight) {
  config_.dropout = 0.25;
  const auto attention = Make(config_);
  const Answer kept = Compute(*attention, config_, inputs_, pool_);
  inputs_.training = true;
  inputs_.dropout_seed = 11;
  const Answer dropped = Compute(*attention, config_, inputs_, pool_);

  std::size_t zeros = 0;
  const auto weights = kept.weights->data<float>();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const float got = dropped.weights->data<float>()[i];
    if (got == 0.0F) {
      ++zeros;
    } else {
      EXPECT_NEAR(got, weights[i] / 0.75F, 1e-6F);
    }
  }
  // The rate lies within 4 sigma of a binomial distribution's.
  const auto count = static_cast<double>(weights.size());
  EXPECT_NEAR(static_cast<double>(zeros), 0.25 * count,
              4.0 * std::sqrt(count * 0.25 * 0.75));
}

TEST_P(PropertiesTest, DropoutDependsOnTheSeedAlone) {
  config_.dropout = 0.5;
  const auto attention = Make(config_);
  inputs_.training = true;
  inputs_.dropout_seed = 1;
  const Answer first = Compute(*attention, config_, inputs_, pool_);
  const Answer again = Compute(*attention, config_, inputs_, pool_);
  inputs_.dropout_seed = 2;
  const Answer other = Compute(*attention, config_, inputs_, pool_);

  EXPECT_TRUE(IsIdentical(first.weights->view(), again.weights->view()));
  EXPECT_FALSE(IsIdentical(first.weights->view(), other.weights->view()));
}

TEST_P(PropertiesTest, DropoutOfOneLeavesTheOutputBias) {
  config_.dropout = 1.0;
  ModuleWeights weights = MakeWeights(config_, DataType::kFloat32, 7);
  const Tensor bias = weights.layers[0].attention.output.bias->Clone();
  inputs_.training = true;
  const Answer answer = Compute(*GetParam().make(config_, std::move(weights)),
                                config_, inputs_, pool_);

  for (std::size_t i = 0; i < kLength; ++i) {
    EXPECT_TRUE(IsIdentical({answer.output.view().data + i * kWidth * 4,
                             DataType::kFloat32,
                             {kWidth}},
                            bias.view()));
  }
}

ATTENTION_INSTANTIATE_CONFORMANCE(PropertiesTest);

}  // namespace
}  // namespace attention::testing
