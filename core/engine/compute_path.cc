// SPDX-License-Identifier: Apache-2.0
#include "core/engine/compute_path.h"

#include "absl/status/status.h"
#include "core/onednn/brgemm.h"
#include "core/onednn/cpu_isa.h"
#include "core/simd/multiply.h"

namespace attention {

std::string_view ComputePath::instructions() const {
  const bool multiplies =
      kernels == KernelKind::kFused && dtype == DataType::kFloat32;
  return multiplies ? SimdInstructions() : OneDnnInstructions(dtype);
}

ComputePath BestComputePath(DataType dtype) {
  if (dtype == DataType::kBFloat16 && Brgemm::IsAvailable()) {
    return {KernelKind::kFused, DataType::kBFloat16};
  }
  if (MayUseAvx2() && MultiplyFuses()) {
    return {KernelKind::kFused, DataType::kFloat32};
  }
  return {};
}

absl::StatusOr<ComputePath> ChooseComputePath(PathChoice choice,
                                              DataType dtype) {
  if (choice == PathChoice::kPrimitives) return ComputePath();
  const ComputePath best = BestComputePath(dtype);
  if (choice == PathChoice::kFused && best.kernels != KernelKind::kFused) {
    return absl::FailedPreconditionError(
        "fused attention needs AVX2 and FMA, which this machine lacks or "
        "ONEDNN_MAX_CPU_ISA forbids");
  }
  return best;
}

}  // namespace attention
