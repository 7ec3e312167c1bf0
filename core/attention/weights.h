// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Tensors by name, such as a state_dict.
using NamedTensors = std::map<std::string, TensorView, std::less<>>;

/// Parameters of y = x W^T + b. weight [out, in], bias [out].
struct LinearWeights {
  Tensor weight;
  std::optional<Tensor> bias;
};

/// Parameters of a multi-head attention module, one dtype throughout.
struct AttentionWeights {
  LinearWeights query;           ///< [E, E]
  LinearWeights key;             ///< [E, kdim]
  LinearWeights value;           ///< [E, vdim]
  LinearWeights output;          ///< [E, E]
  std::optional<Tensor> bias_k;  ///< [E]
  std::optional<Tensor> bias_v;  ///< [E]
  DataType dtype = DataType::kFloat32;

  [[nodiscard]] std::size_t num_bytes() const;
};

/// Name and shape a tensor of the module must have in its file.
struct WeightSpec {
  std::string_view name;
  Shape shape;
};

/// List every tensor a module of this (valid) config has, under PyTorch's
/// state_dict names. Source: torch/nn/modules/activation.py,
/// MultiheadAttention.__init__.
[[nodiscard]] std::vector<WeightSpec> ExpectedWeights(
    const MultiHeadAttentionConfig& config);

/// Take the module's parameters from tensors named as in a state_dict, copying
/// them; converted to `config.dtype` when that is set.
///
/// \param prefix is put before every expected name; tensors outside the prefix
///   are ignored. With an empty prefix every tensor must be expected.
/// \return INVALID_ARGUMENT when a tensor is missing, unexpected, of another
///   shape or not floating, or when dtypes differ and `config.dtype` is unset.
[[nodiscard]] absl::StatusOr<AttentionWeights> CollectWeights(
    const MultiHeadAttentionConfig& config, const NamedTensors& tensors,
    std::string_view prefix = "");

}  // namespace attention
