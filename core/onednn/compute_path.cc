// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/compute_path.h"

#include "core/onednn/brgemm.h"

namespace attention {

ComputePath BestComputePath(DataType dtype) {
  for (const DataType type : {dtype, DataType::kFloat32}) {
    if (Brgemm::IsAvailable(type)) return {KernelKind::kUkernel, type};
  }
  return {};
}

}  // namespace attention
