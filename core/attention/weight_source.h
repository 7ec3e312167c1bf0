// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/weights.h"

namespace attention {

/// A tensor of a module: as the module has it, and as a source does.
struct LocatedWeight {
  WeightSpec own;
  WeightSpec stored;
  bool is_zero = false;  ///< one of the source's zero biases
};

/// List the tensors of a module of this (valid) config.
/// \return the errors of ExpectedWeightsIn. Thread-safe.
[[nodiscard]] absl::StatusOr<std::vector<LocatedWeight>> LocateWeights(
    const ModuleConfig& config, const WeightSource& source);

/// Whether a module's own tensor of this name is added to something: a linear
/// layer's bias or a norm's, not bias_k and bias_v, which are keys and values.
[[nodiscard]] bool IsBias(std::string_view name);

}  // namespace attention
