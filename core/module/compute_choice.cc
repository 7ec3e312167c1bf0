// SPDX-License-Identifier: Apache-2.0
#include "core/module/compute_choice.h"

#include "core/onednn/cpu_isa.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {

absl::StatusOr<std::string> DescribeComputeChoice(PathChoice choice,
                                                  DataType asked) {
  ATTENTION_ASSIGN_OR_RETURN(const ComputePath path,
                             ChooseComputePath(choice, asked));
  return FormatText("{} in {} with {}", path.name(), DataTypeName(path.dtype),
                    path.instructions());
}

absl::StatusOr<ComputeEnvironment> DescribeComputeEnvironment(
    PathChoice choice) {
  ATTENTION_ASSIGN_OR_RETURN(const ComputePath path,
                             ChooseComputePath(choice, DataType::kFloat32));
  return ComputeEnvironment{.instructions = path.instructions(),
                            .onednn_version = OneDnnVersion()};
}

}  // namespace attention
