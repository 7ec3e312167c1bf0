// SPDX-License-Identifier: Apache-2.0
#include "core/simd/multiply.h"

#include <cstring>

#include "tests/core/simd/simd_test.h"

namespace attention {
namespace {

class MultiplyTest : public SimdTest {};

struct Sizes {
  std::size_t rows;
  std::size_t columns;
  std::size_t depth;
  bool accumulate = false;
  bool bias = false;
};

// What the processor's sums may be off the twin's where it rounds twice.
bool IsClose(float got, float want, double magnitude, bool fused) {
  if (fused || !std::isfinite(want)) return SameBits(got, want);
  return std::abs(double{got} - double{want}) <= 1e-5 * magnitude + 1e-30;
}

// Compare a product with its scalar twin. Strides are odd, operands end where
// reading on faults, nothing but the elements of C is written.
void ExpectAsTwin(const Sizes& sizes, const std::vector<float>& a_values,
                  const std::vector<float>& b_values, bool fused) {
  const auto& [rows, columns, depth, accumulate, with_bias] = sizes;
  const std::size_t lda = depth + 3;
  const std::size_t ldb = columns + 5;
  const std::size_t ldc = columns + 1;
  AtPageEnd<float> a(a_values);
  AtPageEnd<float> b(b_values);
  AtPageEnd<float> bias(TameFloats(columns, 3));
  Guarded<float> c(rows * ldc, columns % 7);
  const std::vector<float> before = TameFloats(rows * ldc, 4);
  std::copy(before.begin(), before.end(), c.data());

  Multiply({.rows = std::int64_t(rows),
            .columns = std::int64_t(columns),
            .depth = std::int64_t(depth),
            .a = a.data(),
            .lda = std::int64_t(lda),
            .b = b.data(),
            .ldb = std::int64_t(ldb),
            .c = c.data(),
            .ldc = std::int64_t(ldc),
            .accumulate = accumulate,
            .bias = with_bias ? bias.data() : nullptr});

  ASSERT_TRUE(c.UntouchedAround());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < ldc; ++j) {
      float want = before[i * ldc + j];
      double magnitude = std::abs(want);
      if (j < columns) {
        if (!accumulate) want = 0.0F;
        for (std::size_t k = 0; k < depth; ++k) {
          const float x = a[i * lda + k];
          const float y = b[k * ldb + j];
          want = std::fma(x, y, want);
          magnitude += std::abs(double{x} * double{y});
        }
        if (with_bias) want += bias[j];
      }
      ASSERT_PRED4(IsClose, c[i * ldc + j], want, magnitude, fused)
          << rows << " x " << columns << " x " << depth << ", element " << i
          << ", " << j;
    }
  }
}

// Elements of an operand whose last row ends with its last element.
std::size_t NumElements(std::size_t rows, std::size_t width,
                        std::size_t stride) {
  return rows == 0 ? 0 : (rows - 1) * stride + width;
}

TEST_P(MultiplyTest, HasTheBitsOfItsTwin) {
  for (std::size_t rows = 0; rows <= 27; ++rows) {
    for (const std::size_t columns : {0, 16, 32, 48, 64, 80, 112, 128}) {
      for (const std::size_t depth : {0, 1, 2, 7, 33}) {
        const bool odd = (rows + columns / 16 + depth) % 2 == 1;
        ASSERT_NO_FATAL_FAILURE(ExpectAsTwin(
            {rows, columns, depth, odd, rows % 3 == 0},
            TameFloats(NumElements(rows, depth, depth + 3), 1),
            TameFloats(NumElements(depth, columns, columns + 5), 2), fused()));
      }
    }
  }
}

// Normally distributed floats, some of which are special.
std::vector<float> SpecialFloats(std::size_t count, unsigned seed) {
  constexpr float kSpecial[] = {kNaN, kInfinity, -kInfinity, 0.0F, -0.0F};
  std::vector<float> values = TameFloats(count, seed);
  for (std::size_t i = seed; i < count; i += 7) {
    values[i] = kSpecial[i % std::size(kSpecial)];
  }
  return values;
}

TEST_P(MultiplyTest, LetsNaNAndInfinityThrough) {
  for (const std::size_t rows : {1, 6, 17}) {
    for (const std::size_t columns : {16, 48, 64}) {
      ASSERT_NO_FATAL_FAILURE(ExpectAsTwin(
          {rows, columns, 9}, SpecialFloats(NumElements(rows, 9, 12), 5),
          SpecialFloats(NumElements(9, columns, columns + 5), 6), fused()));
    }
  }
}

// C of [rows, 64] from operands with lda = 96 and ldb = 64, K from `first` on.
void MultiplyPart(const std::vector<float>& a, const std::vector<float>& b,
                  std::int64_t rows, std::int64_t first, std::int64_t depth,
                  std::vector<float>& c) {
  Multiply({.rows = rows,
            .columns = 64,
            .depth = depth,
            .a = a.data() + first,
            .lda = 96,
            .b = b.data() + first * 64,
            .ldb = 64,
            .c = c.data(),
            .ldc = 64,
            .accumulate = first > 0});
}

TEST_P(MultiplyTest, BitsDoNotDependOnRowsNorOnHowDepthIsCut) {
  constexpr std::int64_t kRows = 64;
  constexpr std::int64_t kDepth = 96;
  const std::vector<float> a = TameFloats(kRows * kDepth, 1);
  const std::vector<float> b = TameFloats(kDepth * 64, 2);
  std::vector<float> whole(kRows * 64);
  MultiplyPart(a, b, kRows, 0, kDepth, whole);
  for (std::int64_t rows = 1; rows <= kRows; ++rows) {
    std::vector<float> part(static_cast<std::size_t>(rows * 64));
    const std::int64_t cut = rows % kDepth;
    MultiplyPart(a, b, rows, 0, cut, part);
    MultiplyPart(a, b, rows, cut, kDepth - cut, part);
    ASSERT_TRUE(std::equal(part.begin(), part.end(), whole.begin(), SameBits))
        << rows;
  }
}

// Columns of B, [depth, columns], in strips.
std::vector<float> InStrips(const std::vector<float>& b, std::size_t columns,
                            std::size_t depth) {
  const auto strip = static_cast<std::size_t>(MultiplyStrip());
  std::vector<float> strips;
  for (std::size_t first = 0; first < columns; first += strip) {
    for (std::size_t k = 0; k < depth; ++k) {
      const auto row = b.begin() + std::ptrdiff_t(k * columns + first);
      strips.insert(strips.end(), row,
                    row + std::ptrdiff_t(std::min(strip, columns - first)));
      if (k + 1 < depth) strips.resize(first * depth + (k + 1) * strip);
    }
  }
  return strips;
}

TEST_P(MultiplyTest, StripsHaveTheBitsOfColumnsSideBySide) {
  constexpr std::size_t kDepth = 33;
  ASSERT_EQ(MultiplyStrip() % 16, 0);
  for (std::size_t rows = 0; rows <= 27; ++rows) {
    for (const std::size_t columns : {16, 32, 48, 64, 80, 128, 192, 208}) {
      const std::vector<float> a = TameFloats(rows * kDepth, 1);
      const std::vector<float> b = TameFloats(kDepth * columns, 2);
      AtPageEnd<float> strips(InStrips(b, columns, kDepth));
      std::vector<float> want(rows * columns);
      std::vector<float> got(rows * columns);
      MatrixProduct product = {.rows = std::int64_t(rows),
                               .columns = std::int64_t(columns),
                               .depth = kDepth,
                               .a = a.data(),
                               .lda = kDepth,
                               .b = b.data(),
                               .ldb = std::int64_t(columns),
                               .c = want.data(),
                               .ldc = std::int64_t(columns)};
      Multiply(product);
      product.b = strips.data();
      product.ldb = MultiplyStrip();
      product.strip_step = MultiplyStrip() * std::int64_t{kDepth};
      product.c = got.data();
      Multiply(product);
      ASSERT_TRUE(std::ranges::equal(got, want, SameBits))
          << rows << " x " << columns;
    }
  }
}

TEST_P(MultiplyTest, ProductsOfZeroAtTheEndChangeNoBit) {
  std::vector<float> a = TameFloats(std::size_t{8} * 96, 1);
  const std::vector<float> b = TameFloats(std::size_t{96} * 64, 2);
  for (std::size_t i = 0; i < 8; ++i) std::fill_n(&a[i * 96 + 50], 46, 0.0F);
  std::vector<float> want(8 * 64);
  std::vector<float> got(8 * 64);
  MultiplyPart(a, b, 8, 0, 50, want);
  MultiplyPart(a, b, 8, 0, 96, got);
  EXPECT_TRUE(std::ranges::equal(got, want, SameBits));
}

// Floats elsewhere, `shift` bytes off alignment.
class Misaligned {
 public:
  Misaligned(const std::vector<float>& values, std::size_t shift)
      : bytes_(shift), shift_(shift) {
    const auto* from = reinterpret_cast<const std::uint8_t*>(values.data());
    bytes_.insert(bytes_.end(), from, from + values.size() * sizeof(float));
  }
  float* data() { return reinterpret_cast<float*>(bytes_.data() + shift_); }
  std::vector<float> values() const {
    std::vector<float> values((bytes_.size() - shift_) / sizeof(float));
    std::memcpy(values.data(), bytes_.data() + shift_,
                values.size() * sizeof(float));
    return values;
  }

 private:
  std::vector<std::uint8_t> bytes_;
  std::size_t shift_;
};

TEST_P(MultiplyTest, TakesOperandsOfAnyAlignment) {
  const std::vector<float> a_values = TameFloats(std::size_t{7} * 96, 1);
  const std::vector<float> b_values = TameFloats(std::size_t{96} * 64, 2);
  const std::vector<float> bias_values = TameFloats(64, 3);
  std::vector<float> want(7 * 64);
  MatrixProduct product = {.rows = 7,
                           .columns = 64,
                           .depth = 96,
                           .a = a_values.data(),
                           .lda = 96,
                           .b = b_values.data(),
                           .ldb = 64,
                           .c = want.data(),
                           .ldc = 64,
                           .bias = bias_values.data()};
  Multiply(product);
  for (const std::size_t shift : {1, 2, 3}) {
    Misaligned a(a_values, shift);
    Misaligned b(b_values, shift);
    Misaligned bias(bias_values, shift);
    Misaligned c(std::vector<float>(want.size()), shift);
    product.a = a.data();
    product.b = b.data();
    product.bias = bias.data();
    product.c = c.data();
    Multiply(product);
    EXPECT_TRUE(std::ranges::equal(c.values(), want, SameBits)) << shift;
  }
}

INSTANTIATE_FOR_EVERY_TARGET(MultiplyTest);

}  // namespace
}  // namespace attention
