// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "tests/core/conformance/conformance.h"

namespace attention::testing {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Base of suites whose answers are worked out by hand, as the implementations
/// share the code that reads masks: the query projection is zero, so every
/// score is 0, and the weights of a row are the softmax of its mask.
class ZeroScoresTest : public ConformanceTest {
 protected:
  ZeroScoresTest() {
    config_.embed_dim = 4;
    config_.num_heads = 2;
    config_.bias = false;
    config_.batch_first = true;
  }

  void SetSizes(std::int64_t batch, std::int64_t length, std::int64_t keys) {
    query_ = RandomTensor(DataType::kFloat32, {batch, length, 4}, 1);
    key_ = RandomTensor(DataType::kFloat32, {batch, keys, 4}, 2);
    inputs_.query = query_.view();
    inputs_.key = key_.view();
  }

  /// Keep a tensor of these elements; the type decides its dtype.
  TensorView Keep(const Shape& shape, const std::vector<float>& elements) {
    return KeepAs(DataType::kFloat32, shape, elements);
  }
  TensorView Keep(const Shape& shape, const std::vector<bool>& elements) {
    return KeepAs(DataType::kBool, shape, elements);
  }
  TensorView Keep(const Shape& shape,
                  const std::vector<std::int32_t>& elements) {
    return KeepAs(DataType::kInt32, shape, elements);
  }
  TensorView Keep(const Shape& shape,
                  const std::vector<std::int64_t>& elements) {
    return KeepAs(DataType::kInt64, shape, elements);
  }

  Answer Run() {
    ModuleWeights weights = MakeWeights(config_, DataType::kFloat32, 7);
    std::ranges::fill(weights.layers[0].attention.query.weight.data<float>(),
                      0.0F);
    return Compute(*GetParam().make(config_, std::move(weights)), config_,
                   inputs_, pool_);
  }

  /// Compute the request and compare its weights; NaN equals NaN.
  void ExpectWeights(const std::vector<double>& want) {
    const Answer answer = Run();
    ASSERT_TRUE(answer.weights.has_value());
    EXPECT_THAT(
        ToDoubles(answer.weights->view()),
        ::testing::Pointwise(
            ::testing::NanSensitiveDoubleNear(/*max_abs_error=*/1e-6), want));
  }

  MultiHeadAttentionConfig config_;
  AttentionInputs inputs_;

 private:
  template <typename Element>
  TensorView KeepAs(DataType dtype, const Shape& shape,
                    const std::vector<Element>& elements) {
    storage_.emplace_back(dtype, shape);
    std::ranges::copy(elements,
                      storage_.back().template data<Element>().begin());
    return storage_.back().view();
  }

  Tensor query_, key_;
  std::vector<Tensor> storage_;
};

}  // namespace attention::testing
