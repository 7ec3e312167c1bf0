// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "core/attention/module_implementation.h"

namespace attention::testing {

/// Make reproducible weights with non-zero biases for a config.
[[nodiscard]] ModuleWeights MakeWeights(const ModuleConfig& config,
                                        DataType dtype, std::uint64_t seed);

/// Makes an implementation; the name of the kind in test names.
struct ImplementationKind {
  std::string name;
  std::function<std::unique_ptr<ModuleImplementation>(const ModuleConfig&,
                                                      ModuleWeights)>
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
[[nodiscard]] Answer Compute(const ModuleImplementation& attention,
                             const ModuleConfig& config,
                             const AttentionInputs& inputs, ComputePool& pool);

}  // namespace attention::testing
