// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/compute_path.h"

#include <oneapi/dnnl/dnnl.hpp>

#include "core/onednn/brgemm.h"
#include "core/simd/multiply.h"

namespace attention {
namespace {

// Whether oneDNN may use AVX2. A set of instructions is a number that has the
// bits of all those it includes.
bool MayUseAvx2() {
  constexpr auto kAvx2 = static_cast<unsigned>(dnnl::cpu_isa::avx2);
  const auto found = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  return (found & kAvx2) == kAvx2;
}

}  // namespace

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
