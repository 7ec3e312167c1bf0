// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/attention/config.h"
#include "core/attention/weights.h"

namespace attention {

/// One row of a module's table of weights: a tensor of its file, and the
/// parameters it is made of, equal parts along its first dimension.
struct WeightTableRow {
  std::string name;            ///< the module's own
  Shape shape;                 ///< in the file
  Shape part_shape;            ///< of each parameter
  std::vector<Tensor*> parts;  ///< into the ModuleWeights
};

/// List the tensors of a module of a valid config, under its own names, such as
/// PyTorch's or d2l's state_dict names, and make room for its parameters in
/// `weights`, which stay as they are where there is room already.
/// Lifetime: borrows `weights`.
/// Source: torch/nn/modules/{activation,transformer}.py (2.6), d2l/torch.py.
[[nodiscard]] std::vector<WeightTableRow> MakeWeightTable(
    const ModuleConfig& config, ModuleWeights& weights);

/// dtype a config wants its parameters in, if it says so.
[[nodiscard]] std::optional<DataType> WantedDtype(const ModuleConfig& config);

}  // namespace attention
