// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "core/attention/multi_head_attention.h"

namespace attention::testing {

/// Make reproducible weights with non-zero biases for a config.
[[nodiscard]] AttentionWeights MakeWeights(
    const MultiHeadAttentionConfig& config, DataType dtype, std::uint64_t seed);

/// Makes an implementation; the name of the kind in test names.
struct ImplementationKind {
  std::string name;
  std::function<std::unique_ptr<MultiHeadAttention>(
      const MultiHeadAttentionConfig&, AttentionWeights)>
      make;

  friend void PrintTo(const ImplementationKind& kind, std::ostream* out) {
    *out << kind.name;
  }
};
[[nodiscard]] ImplementationKind ReferenceKind();
[[nodiscard]] ImplementationKind OneDnnKind();

/// Outputs that own their memory.
struct Answer {
  Tensor output;
  std::optional<Tensor> weights;
};

/// Resolve and compute a request; fails the test on an error.
[[nodiscard]] Answer Compute(const MultiHeadAttention& attention,
                             const MultiHeadAttentionConfig& config,
                             const AttentionInputs& inputs, ComputePool& pool);

}  // namespace attention::testing
