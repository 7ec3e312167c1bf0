// SPDX-License-Identifier: Apache-2.0
#include "core/engine/compute_path.h"

#include "core/onednn/brgemm.h"
#include "core/onednn/cpu_isa.h"
#include "core/simd/multiply.h"

namespace attention {
ComputePath BestComputePath(DataType dtype) {
  if (dtype == DataType::kBFloat16 && Brgemm::IsAvailable()) {
    return {KernelKind::kFused, DataType::kBFloat16};
  }
  if (MayUseAvx2() && MultiplyFuses()) {
    return {KernelKind::kFused, DataType::kFloat32};
  }
  return {};
}

}  // namespace attention
