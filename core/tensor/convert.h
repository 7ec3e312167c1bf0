// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor/data_type.h"

namespace attention {

/// Convert between float and the bits of the 16-bit types. Narrowing rounds to
/// nearest even; NaN stays NaN, overflow becomes infinity, subnormals are kept.
[[nodiscard]] float BFloat16ToFloat(std::uint16_t bits);
[[nodiscard]] std::uint16_t FloatToBFloat16(float value);
[[nodiscard]] float Float16ToFloat(std::uint16_t bits);
[[nodiscard]] std::uint16_t FloatToFloat16(float value);

/// Read `count` elements of a floating `dtype` at `src` (unaligned allowed) as
/// Real (float or double).
template <typename Real>
void LoadReals(DataType dtype, const std::byte* src, std::size_t count,
               Real* dst);

/// Write `count` Reals as elements of a floating `dtype` at `dst` (unaligned
/// allowed), each rounded once to nearest even.
template <typename Real>
void StoreReals(const Real* src, std::size_t count, DataType dtype,
                std::byte* dst);

}  // namespace attention
