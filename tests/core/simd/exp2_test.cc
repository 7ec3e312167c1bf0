// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "core/simd/softmax.h"
#include "tests/core/simd/simd_test.h"

namespace attention {
namespace {

// Distance of a float from a double in units of the float's last place.
double UlpsOff(float got, double want) {
  const double place = std::nextafter(static_cast<float>(want), kInfinity) -
                       static_cast<float>(want);
  return std::fabs(got - want) / place;
}

TEST(Exp2Test, IsTwoUlpOffAtMostWhereverItIsUsed) {
  double worst = 0.0;
  float at = 0.0F;
  // Every 64th float of [-125, -2^-30], and of [2^-30, 1].
  for (const float sign : {-1.0F, 1.0F}) {
    const float end = sign < 0 ? 125.0F : 1.0F;
    for (auto bits = std::bit_cast<std::uint32_t>(0x1p-30F);
         bits <= std::bit_cast<std::uint32_t>(end); bits += 64) {
      const float x = sign * std::bit_cast<float>(bits);
      const double off = UlpsOff(Exp2(x), std::exp2(static_cast<double>(x)));
      if (off > worst) worst = off, at = x;
    }
  }
  std::printf("largest error of Exp2: %.3f ulp, at %.9g\n", worst, at);
  EXPECT_LE(worst, 2.0) << "at " << at;
}

TEST(Exp2Test, SpecialValuesAreExact) {
  for (int n = -125; n <= 1; ++n) {
    EXPECT_EQ(Exp2(static_cast<float>(n)), std::ldexp(1.0F, n));
  }
  EXPECT_TRUE(SameBits(Exp2(-0.0F), 1.0F));
  EXPECT_TRUE(SameBits(Exp2(1e-40F), 1.0F));
  EXPECT_GT(Exp2(-125.0F), 0.0F);
  EXPECT_TRUE(SameBits(Exp2(std::nextafter(-125.0F, -kInfinity)), 0.0F));
  EXPECT_TRUE(SameBits(Exp2(-1e30F), 0.0F));
  EXPECT_TRUE(SameBits(Exp2(-kInfinity), 0.0F));
  for (const unsigned payload : {0x7FC00000U, 0x7F800001U, 0xFFFFFFFFU}) {
    EXPECT_TRUE(std::isnan(Exp2(std::bit_cast<float>(payload))));
  }
}

}  // namespace
}  // namespace attention
