// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace attention {

/// Whether oneDNN may use AVX2: the machine has it, and ONEDNN_MAX_CPU_ISA does
/// not forbid it.
[[nodiscard]] bool MayUseAvx2();

}  // namespace attention
