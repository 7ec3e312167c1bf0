// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <numbers>

namespace attention {

inline constexpr float kLog2E = std::numbers::log2e_v<float>;

// x + kExp2Round has n + 127 in its low bits, n being x rounded to nearest:
// 1.5 * 2^23, where floats are one apart, plus the bias of exponents. Shifted
// behind the sign, that is 2^n.
inline constexpr float kExp2Round = 12582912.0F + 127.0F;

// 2^x is 0 below; above, neither 2^n nor the result is subnormal.
inline constexpr float kExp2Smallest = -125.0F;

// 2^r = 1 + r (c_0 r^4 + c_1 r^3 + ... + c_4) on [-1/2, 1/2], at most 9.4e-8
// of it off: the best such polynomial in the relative error, by iterated
// reweighted least squares (Lawson 1961) on 300 Chebyshev nodes; coefficients
// rounded to float from c_4 on, those left fitted anew after each.
// Its slope at 0 is not the logarithm of 2, but close.
inline constexpr std::array<float, 5> kExp2Coefficients = {
    0x1.5bda64p-10F, 0x1.3ce8aep-7F, 0x1.c6b6d8p-5F, 0x1.ebf9c2p-3F,
    0x1.62e42ap-1F};  // NOLINT(modernize-use-std-numbers)

}  // namespace attention
