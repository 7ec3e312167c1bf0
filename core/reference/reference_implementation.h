// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "core/attention/config.h"
#include "core/attention/module_implementation.h"
#include "core/attention/weight_store.h"

namespace attention {

// core/reference: attention and encoders by plain loops in double, what all
// others are judged by and what computes float64. Nothing here is fast. Uses
// core/attention.

/// Make the reference implementation of a module: plain loops in double
/// precision over the weights as the store has them, the executable definition
/// of what is right. Each pass takes them from there, one layer at a time.
[[nodiscard]] std::unique_ptr<ModuleImplementation> MakeReferenceImplementation(
    const ModuleConfig& config, std::shared_ptr<const WeightStore> weights);

}  // namespace attention
