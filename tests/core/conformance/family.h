// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tests/core/conformance/conformance.h"

namespace attention::testing {

inline Tensor Integers(const Shape& shape,
                       const std::vector<std::int64_t>& values) {
  Tensor tensor(DataType::kInt64, shape);
  std::ranges::copy(values, tensor.data<std::int64_t>().begin());
  return tensor;
}

inline AttentionInputs Inputs(const Tensor& query) {
  AttentionInputs inputs;
  inputs.query = query.view();
  return inputs;
}
inline AttentionInputs Inputs(const Tensor& query, const Tensor& key,
                              const Tensor& value) {
  AttentionInputs inputs = Inputs(query);
  inputs.key = key.view();
  inputs.value = value.view();
  return inputs;
}

// Why a request is refused.
inline absl::Status Refusal(const ModuleConfig& config,
                            const AttentionInputs& inputs) {
  return ResolveRequest(config, inputs).status();
}

/// Base of the suites of the kinds beside torch.nn.MultiheadAttention.
class FamilyTest : public ConformanceTest {
 protected:
  Answer Run(const ModuleConfig& config, const AttentionInputs& inputs) {
    return Compute(*GetParam().make(config, MakeWeights(config, kF32, 7)),
                   config, inputs, pool_);
  }
  // What the reference answers.
  Answer Reference(const ModuleConfig& config, const AttentionInputs& inputs) {
    return Compute(*ReferenceKind().make(config, MakeWeights(config, kF32, 7)),
                   config, inputs, pool_);
  }
  void ExpectAsReference(const ModuleConfig& config,
                         const AttentionInputs& inputs) {
    const Answer got = Run(config, inputs);
    const Answer want = Reference(config, inputs);
    EXPECT_TRUE(IsClose(got.output.view(), want.output.view()));
    ASSERT_EQ(got.weights.has_value(), want.weights.has_value());
    if (!got.weights) return;
    EXPECT_TRUE(IsClose(got.weights->view(), want.weights->view()));
  }

  static constexpr DataType kF32 = DataType::kFloat32;
};

}  // namespace attention::testing
