// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "core/tensor/data_type.h"

namespace attention {

/// Whether oneDNN may use AVX2: the machine has it, and ONEDNN_MAX_CPU_ISA does
/// not forbid it.
[[nodiscard]] bool MayUseAvx2();

/// The instructions oneDNN multiplies matrices of a dtype with, as it takes the
/// machine and ONEDNN_MAX_CPU_ISA: "SSE4.1", "AVX2" or "AVX-512", of bfloat16
/// also "AVX-512 BF16" or "AMX".
[[nodiscard]] std::string_view OneDnnInstructions(DataType dtype);

/// The version of the oneDNN that is loaded, such as "3.7.0".
[[nodiscard]] std::string OneDnnVersion();

}  // namespace attention
