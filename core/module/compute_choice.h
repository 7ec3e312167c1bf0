// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "core/engine/compute_path.h"
#include "core/tensor/data_type.h"

namespace attention {

/// Say what modules that ask for a compute dtype are computed with on this
/// machine, in which dtype and by which instructions: "fused in bfloat16 with
/// AMX".
/// \return FAILED_PRECONDITION where the machine lacks what is chosen.
/// Thread-safe.
[[nodiscard]] absl::StatusOr<std::string> DescribeComputeChoice(
    PathChoice choice, DataType asked);

}  // namespace attention
