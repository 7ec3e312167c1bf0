// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/cpu_isa.h"

#include <oneapi/dnnl/dnnl.hpp>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

// A set of instructions is a number that has the bits of all it includes.
bool MayUse(dnnl::cpu_isa isa) {
  const auto wanted = static_cast<unsigned>(isa);
  const auto found = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  return (found & wanted) == wanted;
}

}  // namespace

bool MayUseAvx2() { return MayUse(dnnl::cpu_isa::avx2); }

std::string_view OneDnnInstructions(DataType dtype) {
  if (dtype == DataType::kBFloat16) {
    if (MayUse(dnnl::cpu_isa::avx512_core_amx)) return "AMX";
    if (MayUse(dnnl::cpu_isa::avx512_core_bf16)) return "AVX-512 BF16";
  }
  if (MayUse(dnnl::cpu_isa::avx512_core)) return "AVX-512";
  return MayUseAvx2() ? "AVX2" : "SSE4.1";
}

std::string OneDnnVersion() {
  const dnnl::version_t* const version = dnnl::version();
  return FormatText("{}.{}.{}", version->major, version->minor, version->patch);
}

}  // namespace attention
