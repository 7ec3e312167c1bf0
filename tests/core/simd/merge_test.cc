// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "core/simd/softmax.h"
#include "tests/core/simd/simd_test.h"

namespace attention {
namespace {

constexpr std::size_t kRows = 6;

class MergeBlockTest : public SimdTest {};
class FinishRowsTest : public SimdTest {};
class ScaleRowTest : public SimdTest {};

// Maxima that meet: equal, apart, either or both of rows that see nothing.
constexpr std::array<float, kRows> kMaxima = {1.5F,       -2.0F, -kInfinity,
                                              -kInfinity, 3.25F, 90.0F};
constexpr std::array<float, kRows> kBlockMaxima = {
    1.5F, 3.7F, 2.0F, -kInfinity, -kInfinity, -80.0F};

TEST_P(MergeBlockTest, HasTheBitsOfItsTwin) {
  for (std::size_t columns = 0; columns <= 80; ++columns) {
    const std::size_t stride = columns + columns % 3;
    Guarded<float> values(kRows * stride, columns % 7);
    Guarded<float> maxima(kRows, columns % 3);
    Guarded<float> sums(kRows, columns % 3);
    const std::vector<float> before = WildFloats(kRows * stride, 6);
    std::copy(before.begin(), before.end(), values.data());
    std::copy(kMaxima.begin(), kMaxima.end(), maxima.data());
    std::fill_n(sums.data(), kRows, 2.5F);
    AtPageEnd<float> block_maxima(kBlockMaxima);
    AtPageEnd<float> block_sums(std::vector<float>(kRows, 1.25F));
    AtPageEnd<float> block_values(TameFloats(kRows * columns, 5));

    MergeBlock(
        kRows, std::int64_t(columns),
        {values.data(), std::int64_t(stride), maxima.data(), sums.data()},
        {block_values.data(), std::int64_t(columns), block_maxima.data(),
         block_sums.data()});

    EXPECT_TRUE(values.UntouchedAround() && maxima.UntouchedAround() &&
                sums.UntouchedAround());
    for (std::size_t i = 0; i < kRows; ++i) {
      const float maximum = std::max(kMaxima[i], kBlockMaxima[i]);
      const float safe = maximum == -kInfinity ? 0.0F : maximum;
      const float a = Exp(kMaxima[i] - safe);
      const float b = Exp(kBlockMaxima[i] - safe);
      EXPECT_TRUE(SameBits(maxima[i], maximum));
      EXPECT_PRED3(SameOrClose, sums[i], 2.5F * a + 1.25F * b, fused());
      for (std::size_t j = 0; j < stride; ++j) {
        const float old = before[i * stride + j];
        const float want =
            j < columns ? std::fma(old, a, block_values[i * columns + j] * b)
                        : old;
        EXPECT_PRED3(SameOrClose, values[i * stride + j], want, fused());
      }
    }
  }
}

float FinishTwin(float value, float sum, bool masked_is_nan) {
  if (sum == 0.0F) return masked_is_nan ? kNaN : value;
  return value * (1.0F / sum);
}

TEST_P(FinishRowsTest, HasTheBitsOfItsTwin) {
  const std::array<float, kRows> sums = {1.0F, 3.0F, 0.0F, kNaN, 1e-30F, 77.0F};
  for (std::size_t columns = 0; columns <= 80; ++columns) {
    const std::size_t stride = columns + columns % 3;
    AtPageEnd<float> values(WildFloats(kRows * columns, 7));
    std::array<float, kRows> l = sums;
    for (const bool masked_is_nan : {false, true}) {
      Guarded<float> floats(kRows * stride, columns % 5);
      Guarded<std::uint16_t> bf16(kRows * stride, columns % 5);
      const RunningRows from = {values.data(), std::int64_t(columns), nullptr,
                                l.data()};
      const auto rows = std::int64_t{kRows};
      FinishRows(rows, std::int64_t(columns), from,
                 {floats.data(), nullptr, std::int64_t(stride), masked_is_nan});
      FinishRows(rows, std::int64_t(columns), from,
                 {nullptr, bf16.data(), std::int64_t(stride), masked_is_nan});

      EXPECT_TRUE(floats.UntouchedAround() && bf16.UntouchedAround());
      for (std::size_t at = 0; at < kRows * stride; ++at) {
        const std::size_t i = at / stride;
        if (at % stride >= columns) {
          EXPECT_TRUE(floats.Untouched(at) && bf16.Untouched(at));
          continue;
        }
        const float want = FinishTwin(values[i * columns + at % stride],
                                      sums[i], masked_is_nan);
        EXPECT_PRED2(SameBits, floats[at], want) << at;
        // Of two NaN either may come out.
        EXPECT_TRUE(std::isnan(want) ? TwinIsNaN(bf16[at])
                                     : bf16[at] == TwinBf16(want))
            << at;
      }
    }
  }
}

TEST_P(ScaleRowTest, HasTheBitsOfItsTwin) {
  for (std::size_t count = 0; count <= 80; ++count) {
    AtPageEnd<float> from(WildFloats(count, 8));
    const std::vector<float> before = TameFloats(count, 9);
    for (const bool accumulate : {false, true}) {
      Guarded<float> to(count, count % 9);
      std::copy(before.begin(), before.end(), to.data());
      ScaleRow({from.data(), count}, 0.3F, accumulate, to.data());

      EXPECT_TRUE(to.UntouchedAround());
      for (std::size_t j = 0; j < count; ++j) {
        const float want =
            accumulate ? std::fma(from[j], 0.3F, before[j]) : from[j] * 0.3F;
        EXPECT_PRED3(SameOrClose, to[j], want, fused()) << j;
      }
    }
  }
}

INSTANTIATE_FOR_EVERY_TARGET(MergeBlockTest);
INSTANTIATE_FOR_EVERY_TARGET(FinishRowsTest);
INSTANTIATE_FOR_EVERY_TARGET(ScaleRowTest);

}  // namespace
}  // namespace attention
