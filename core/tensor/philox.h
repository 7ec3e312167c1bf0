// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace attention {

/// Compute one block of the Philox4x32-10 counter-based generator: four
/// independent uniform 32-bit numbers, a pure function of key and counter.
///
/// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3", SC'11, section 3.3 (constants and 10 rounds). Thread-safe.
[[nodiscard]] std::array<std::uint32_t, 4> Philox4x32(
    std::uint64_t key, std::array<std::uint32_t, 4> counter);

}  // namespace attention
