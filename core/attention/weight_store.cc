// SPDX-License-Identifier: Apache-2.0
#include "core/attention/weight_store.h"

#include <utility>

namespace attention {
namespace {

std::optional<Tensor> Clone(const std::optional<Tensor>& tensor) {
  if (!tensor) return std::nullopt;
  return tensor->Clone();
}

LinearWeights Clone(const LinearWeights& linear) {
  return {linear.weight.Clone(), Clone(linear.bias)};
}

NormWeights Clone(const NormWeights& norm) {
  return {norm.weight.Clone(), Clone(norm.bias)};
}

class ModuleWeightStore final : public WeightStore {
 public:
  explicit ModuleWeightStore(ModuleWeights weights)
      : weights_(std::move(weights)) {}

  LayerWeights Layer(std::size_t index) const override {
    const LayerWeights& layer = weights_.layers[index];
    return {.attention = {.query = Clone(layer.attention.query),
                          .key = Clone(layer.attention.key),
                          .value = Clone(layer.attention.value),
                          .output = Clone(layer.attention.output),
                          .bias_k = Clone(layer.attention.bias_k),
                          .bias_v = Clone(layer.attention.bias_v)},
            .linear1 = Clone(layer.linear1),
            .linear2 = Clone(layer.linear2),
            .norm1 = Clone(layer.norm1),
            .norm2 = Clone(layer.norm2)};
  }
  std::optional<NormWeights> FinalNorm() const override {
    if (!weights_.final_norm) return std::nullopt;
    return Clone(*weights_.final_norm);
  }
  std::size_t memory_bytes() const override { return weights_.num_bytes; }

 private:
  ModuleWeights weights_;
};

}  // namespace

std::shared_ptr<const WeightStore> MakeWeightStore(ModuleWeights weights) {
  return std::make_shared<const ModuleWeightStore>(std::move(weights));
}

}  // namespace attention
