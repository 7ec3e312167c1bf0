// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace attention {

/// Convert `count` elements between float and the bits of the 16-bit types.
/// Narrowing rounds to nearest even, overflow becomes infinity, NaN stays NaN
/// and becomes quiet; subnormals are kept even where the processor is told to
/// flush them. 16-bit elements may stand at odd addresses. The ranges may not
/// overlap. Thread-safe.
void Bf16ToFloat(const std::uint16_t* from, std::size_t count, float* to);
void FloatToBf16(const float* from, std::size_t count, std::uint16_t* to);
void HalfToFloat(const std::uint16_t* from, std::size_t count, float* to);
void FloatToHalf(const float* from, std::size_t count, std::uint16_t* to);

}  // namespace attention
