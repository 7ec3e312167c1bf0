// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "tests/core/conformance/conformance.h"

namespace attention::testing {
namespace {

// A padded batch: keys beyond each length are padding, and so is a hole.
class PaddingTest : public ConformanceTest {
 protected:
  static constexpr std::int64_t kBatch = 2, kKeys = 21, kWidth = 16;

  PaddingTest() {
    config_.embed_dim = kWidth;
    config_.num_heads = 2;
    config_.batch_first = true;
    std::ranges::fill(mask_.data<bool>(), false);
    for (std::int64_t j = 0; j < kKeys; ++j) {
      Pad(0, j, j >= 9);
      Pad(1, j, j == 0 || j == 7 || j >= 20);
    }
    inputs_.query = query_.view();
    inputs_.key = key_.view();
    inputs_.key_padding_mask = mask_.view();
  }
  void Pad(std::int64_t n, std::int64_t j, bool padding) {
    mask_.data<bool>()[static_cast<std::size_t>(n * kKeys + j)] = padding;
  }
  // Put `value` into every padded key.
  void FillPadding(float value) {
    for (std::size_t row = 0; row < mask_.data<bool>().size(); ++row) {
      if (!mask_.data<bool>()[row]) continue;
      std::fill_n(key_.data<float>().data() + row * kWidth, kWidth, value);
    }
  }

  MultiHeadAttentionConfig config_;
  Tensor query_ = RandomTensor(DataType::kFloat32, {kBatch, 5, kWidth}, 1);
  Tensor key_ = RandomTensor(DataType::kFloat32, {kBatch, kKeys, kWidth}, 2);
  Tensor mask_{DataType::kBool, {kBatch, kKeys}};
  AttentionInputs inputs_;
};

TEST_P(PaddingTest, WhatStandsInPaddingChangesNothing) {
  const auto attention = Make(config_);
  const Answer before = Compute(*attention, config_, inputs_, pool_);
  for (const float value : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(), 1e30F}) {
    FillPadding(value);
    const Answer after = Compute(*attention, config_, inputs_, pool_);
    EXPECT_TRUE(IsIdentical(after.output.view(), before.output.view()));
    EXPECT_TRUE(IsIdentical(after.weights->view(), before.weights->view()));
  }
}

// Scratch that was NaN behind a sequence's last key, where keys are padded to
// whole vectors and pages.
TEST_P(PaddingTest, WhatStoodInScratchChangesNothing) {
  ComputePool worn(1);
  for (const bool appends : {false, true}) {
    config_.add_bias_kv = appends;
    config_.add_zero_attn = appends;
    const auto attention = Make(config_);
    for (const std::int64_t length : {1, 15, 17, 63, 65, 511, 513}) {
      AttentionInputs inputs;
      const Tensor query =
          RandomTensor(DataType::kFloat32, {1, length, kWidth}, 3);
      inputs.query = query.view();
      ComputePool fresh(1);
      const Answer want = Compute(*attention, config_, inputs, fresh);

      Tensor spoiled(DataType::kFloat32, {1, 700, kWidth});
      std::ranges::fill(spoiled.data<float>(),
                        std::numeric_limits<float>::quiet_NaN());
      AttentionInputs spoiling;
      spoiling.query = spoiled.view();
      (void)Compute(*attention, config_, spoiling, worn);
      const Answer got = Compute(*attention, config_, inputs, worn);
      EXPECT_TRUE(IsIdentical(got.output.view(), want.output.view()))
          << length << " keys, " << appends;
      EXPECT_TRUE(IsIdentical(got.weights->view(), want.weights->view()))
          << length << " keys, " << appends;
    }
  }
}

TEST_P(PaddingTest, PaddingGetsNoWeight) {
  const Answer answer = Compute(*Make(config_), config_, inputs_, pool_);
  for (std::size_t n = 0; n < kBatch; ++n) {
    for (std::size_t i = 0; i < 5; ++i) {
      for (std::size_t j = 0; j < kKeys; ++j) {
        const float weight =
            answer.weights->data<float>()[(n * 5 + i) * kKeys + j];
        EXPECT_EQ(mask_.data<bool>()[n * kKeys + j], weight == 0.0F);
      }
    }
  }
}

TEST_P(PaddingTest, AdditiveInfinityIsPaddingToo) {
  const Answer want = Compute(*Make(config_), config_, inputs_, pool_);
  Tensor additive(DataType::kFloat32, {kBatch, kKeys});
  for (std::size_t k = 0; k < mask_.data<bool>().size(); ++k) {
    additive.data<float>()[k] =
        mask_.data<bool>()[k] ? -std::numeric_limits<float>::infinity() : 0.0F;
  }
  inputs_.key_padding_mask = additive.view();
  FillPadding(std::numeric_limits<float>::quiet_NaN());
  const Answer got = Compute(*Make(config_), config_, inputs_, pool_);
  EXPECT_TRUE(IsIdentical(got.output.view(), want.output.view()));
}

TEST_P(PaddingTest, PaddedKeysMightAsWellBeAbsent) {
  inputs_.need_weights = false;
  const Answer want = Compute(*Make(config_), config_, inputs_, pool_);
  std::vector<float> rows;
  inputs_.key_lengths = {0, 0};
  for (std::size_t row = 0; row < mask_.data<bool>().size(); ++row) {
    if (mask_.data<bool>()[row]) continue;
    const auto key = key_.data<float>().subspan(row * kWidth, kWidth);
    rows.insert(rows.end(), key.begin(), key.end());
    ++inputs_.key_lengths[row / kKeys];
  }
  inputs_.key_padding_mask.reset();
  inputs_.query.shape = {kBatch * 5, kWidth};
  inputs_.query_lengths = {5, 5};
  inputs_.key =
      TensorView{std::as_bytes(std::span(rows)).data(),
                 DataType::kFloat32,
                 {inputs_.key_lengths[0] + inputs_.key_lengths[1], kWidth}};
  const Answer got = Compute(*Make(config_), config_, inputs_, pool_);
  EXPECT_TRUE(IsIdentical(
      {got.output.view().data, DataType::kFloat32, want.output.shape()},
      want.output.view()));
}

INSTANTIATE_TEST_SUITE_P(
    Implementations, PaddingTest, ::testing::ValuesIn(InvariantKinds()),
    [](const ::testing::TestParamInfo<ImplementationKind>& parameter) {
      return parameter.param.name;
    });

}  // namespace
}  // namespace attention::testing
