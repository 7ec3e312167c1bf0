// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "core/attention/config.h"
#include "core/attention/module_implementation.h"
#include "core/attention/weights.h"

namespace attention {

/// Make the reference implementation of a module: plain loops in double
/// precision over the weights as they are, the executable definition of what is
/// right.
[[nodiscard]] std::unique_ptr<ModuleImplementation> MakeReferenceImplementation(
    const ModuleConfig& config, std::shared_ptr<const ModuleWeights> weights);

}  // namespace attention
