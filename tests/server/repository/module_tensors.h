// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "core/attention/weights.h"
#include "core/tensor/random_tensor.h"

namespace attention {

inline MultiHeadAttentionConfig SmallConfig() {
  MultiHeadAttentionConfig config;
  config.embed_dim = 4;
  config.num_heads = 2;
  return config;
}

/// Reproducible parameters of a module, under their state_dict names.
class ModuleTensors {
 public:
  explicit ModuleTensors(const ModuleConfig& config,
                         DataType dtype = DataType::kFloat32,
                         std::uint64_t seed = 1) {
    std::uint32_t stream = 0;
    for (const WeightSpec& spec : ExpectedWeights(config)) {
      tensors_.emplace(spec.name,
                       RandomTensor(dtype, spec.shape, seed, stream++));
    }
  }

  /// Lifetime: borrows from this object.
  [[nodiscard]] NamedTensors views(const std::string& prefix = "") const {
    NamedTensors views;
    for (const auto& [name, tensor] : tensors_) {
      views.emplace(prefix + name, tensor.view());
    }
    return views;
  }

 private:
  std::map<std::string, Tensor> tensors_;
};

}  // namespace attention
