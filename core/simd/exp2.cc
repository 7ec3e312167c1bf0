// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/simd/exp2_constants.h"
#include "core/simd/softmax.h"

namespace attention {

float Exp2(float x) {
  const float biased = x + kExp2Round;
  const float r = x - (biased - kExp2Round);
  float p = kExp2Coefficients[0];
  for (std::size_t i = 1; i < kExp2Coefficients.size(); ++i) {
    p = std::fma(p, r, kExp2Coefficients[i]);
  }
  p = std::fma(p, r, 1.0F);
  const auto power =
      std::bit_cast<float>(std::bit_cast<std::uint32_t>(biased) << 23U);
  return x < kExp2Smallest ? 0.0F : p * power;
}

float Exp(float x) { return Exp2(x * kLog2E); }

}  // namespace attention
