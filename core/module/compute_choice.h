// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

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

/// What modules that ask for nothing are computed by, for whoever compares
/// machines. Thread-safe.
struct ComputeEnvironment {
  std::string_view instructions;  ///< such as "AVX2"
  std::string onednn_version;     ///< such as "3.7.0"
};
/// \return FAILED_PRECONDITION where the machine lacks what is chosen.
[[nodiscard]] absl::StatusOr<ComputeEnvironment> DescribeComputeEnvironment(
    PathChoice choice);

}  // namespace attention
