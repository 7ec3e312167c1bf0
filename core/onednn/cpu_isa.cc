// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/cpu_isa.h"

#include <oneapi/dnnl/dnnl.hpp>

namespace attention {

bool MayUseAvx2() {
  // A set of instructions is a number that has the bits of all it includes.
  constexpr auto kAvx2 = static_cast<unsigned>(dnnl::cpu_isa::avx2);
  const auto found = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  return (found & kAvx2) == kAvx2;
}

}  // namespace attention
