// SPDX-License-Identifier: Apache-2.0
#include "server/weights/weights_digest.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/server/repository/module_tensors.h"

namespace attention {
namespace {

std::string DigestOf(const MultiHeadAttentionConfig& config,
                     const NamedTensors& tensors) {
  return WeightsDigest(config, CollectWeights(config, tensors).value());
}

/// Parameters that are easy to write down elsewhere: 0, 1, 2, ... in each.
class CountingTensors {
 public:
  explicit CountingTensors(const ModuleConfig& config) {
    for (const WeightSpec& spec : ExpectedWeights(config)) {
      Tensor tensor(DataType::kFloat32, spec.shape);
      float next = 0;
      for (float& element : tensor.data<float>()) element = next++;
      views_.emplace(spec.name, tensor.view());
      tensors_.push_back(std::move(tensor));
    }
  }

  [[nodiscard]] const NamedTensors& views() const { return views_; }

 private:
  std::vector<Tensor> tensors_;
  NamedTensors views_;
};

TEST(WeightsDigestTest, IsWhatPythonComputes) {
  const MultiHeadAttentionConfig config = SmallConfig();
  const CountingTensors tensors(config);

  EXPECT_EQ(DigestOf(config, tensors.views()),
            "6caedc16f9e7fb4dc59ac7ed6847a4ff54c9899bf453c681bf5e0422384c829a");
}

TEST(WeightsDigestTest, IsWhatPythonComputesForSeparateWeights) {
  MultiHeadAttentionConfig config = SmallConfig();
  config.kdim = 3;
  config.vdim = 5;
  config.add_bias_kv = true;
  const CountingTensors tensors(config);

  EXPECT_EQ(DigestOf(config, tensors.views()),
            "16a0c64f06c952e04a6cb82e171b236a2b4aef3aad11dd86a426267911eba8b3");
}

TEST(WeightsDigestTest, IsWhatPythonComputesWithoutBias) {
  MultiHeadAttentionConfig config = SmallConfig();
  config.bias = false;
  const CountingTensors tensors(config);

  EXPECT_EQ(DigestOf(config, tensors.views()),
            "1c3da99588808b1e81218cf318e6ae879ca7d1ac961969be081754339f935f65");
}

TEST(WeightsDigestTest, DependsOnTheValues) {
  const MultiHeadAttentionConfig config = SmallConfig();

  EXPECT_NE(
      DigestOf(config, ModuleTensors(config).views()),
      DigestOf(config, ModuleTensors(config, DataType::kFloat32, 2).views()));
}

TEST(WeightsDigestTest, IsThatOfTheConvertedParameters) {
  MultiHeadAttentionConfig config = SmallConfig();
  const ModuleTensors tensors(config, DataType::kBFloat16);
  const std::string as_stored = DigestOf(config, tensors.views());

  config.dtype = DataType::kFloat32;

  EXPECT_NE(DigestOf(config, tensors.views()), as_stored);
}

}  // namespace
}  // namespace attention
