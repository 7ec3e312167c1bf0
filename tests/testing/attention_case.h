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
#include "core/attention/weights.h"

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
/// Fused attention, the same with each sequence in a pass of its own, and
/// oneDNN's primitives, all in float32.
[[nodiscard]] ImplementationKind FusedKind();
[[nodiscard]] ImplementationKind FusedOneByOneKind();
[[nodiscard]] ImplementationKind PrimitivesKind();
/// Every float32 implementation, and the reference; the fused only where the
/// machine takes it.
[[nodiscard]] std::vector<ImplementationKind> AllKinds();
/// Fused attention in bfloat16; none where the machine has no ukernels for it.
[[nodiscard]] std::optional<ImplementationKind> FusedBfloat16Kind();
/// AllKinds() and FusedBfloat16Kind(): for suites that compare an
/// implementation with itself, whatever its precision.
[[nodiscard]] std::vector<ImplementationKind> InvariantKinds();

/// Outputs that own their memory.
struct Answer {
  Tensor output;
  std::optional<Tensor> weights;

  /// Views of them.
  [[nodiscard]] AttentionOutputs outputs();
};

/// Make room for what a request will answer.
[[nodiscard]] Answer MakeAnswer(const RequestPlan& request);

/// Bind a request to outputs and compute it.
[[nodiscard]] absl::Status Forward(const ModuleImplementation& attention,
                                   RequestPlan& request,
                                   const AttentionOutputs& outputs,
                                   ComputePool& pool);

/// Resolve and compute a request; fails the test on an error.
[[nodiscard]] Answer Compute(const ModuleImplementation& attention,
                             const ModuleConfig& config,
                             const AttentionInputs& inputs, ComputePool& pool);

}  // namespace attention::testing
