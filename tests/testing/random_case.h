// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/attention/config.h"
#include "core/attention/request.h"
#include "core/attention/weights.h"
#include "core/tensor/tensor.h"

namespace attention::testing {

/// A module and a request drawn at random: every flag, layout, kind of mask and
/// combination of dtypes has its share, and one case in ten has no sequences,
/// no query rows or no keys. Owns its tensors; move-only.
struct RandomCase {
  /// \param dtype the query's; the weights' differs in one case of three.
  RandomCase(std::uint64_t seed, DataType dtype);

  /// Make the module's weights, the same at each call.
  [[nodiscard]] ModuleWeights Weights() const;

  std::uint64_t seed;
  MultiHeadAttentionConfig config;
  DataType weights_dtype;
  AttentionInputs inputs;
  std::vector<std::unique_ptr<Tensor>> storage;  ///< behind the inputs' views
};

}  // namespace attention::testing
