// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/module_implementation.h"
#include "core/attention/weights.h"
#include "core/engine/compute_path.h"

namespace attention {

/// Make the oneDNN implementation of a module. Serves float32, bfloat16 and
/// float16 weights and queries.
/// \param path what to compute with; default: the best there is for the
/// config's
///   compute dtype.
/// \return INVALID_ARGUMENT for float64 weights, RESOURCE_EXHAUSTED when memory
///   is exhausted, INTERNAL when oneDNN fails.
[[nodiscard]] absl::StatusOr<std::unique_ptr<ModuleImplementation>>
MakeLayerImplementation(const ModuleConfig& config,
                        const ModuleWeights& weights,
                        std::optional<ComputePath> path = std::nullopt);

}  // namespace attention
