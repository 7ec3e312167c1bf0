// SPDX-License-Identifier: Apache-2.0
#include "core/simd/store.h"

#include <cstdio>
#include <functional>
#include <numbers>

#include "tests/core/simd/simd_test.h"

namespace attention {
namespace {

// A patch of wild floats, its bias, and what a function made of it.
template <typename T>
class TileCase {
 public:
  using Place = std::function<std::size_t(std::size_t, std::size_t)>;

  TileCase(std::size_t rows, std::size_t columns, bool biased)
      : rows_(rows),
        columns_(columns),
        biased_(biased),
        stride_(columns + rows % 3),
        values_(WildFloats(rows == 0 ? 0 : (rows - 1) * stride_ + columns, 11)),
        bias_(TameFloats(columns, 12)),
        to_(4 * 68 * 68, (rows + columns) % 5) {}

  Patch patch() {
    return {values_.data(), std::int64_t(stride_), std::int64_t(rows_),
            std::int64_t(columns_), biased_ ? bias_.data() : nullptr};
  }
  T* to() { return to_.data(); }

  float Biased(std::size_t r, std::size_t c) {
    const float value = values_[r * stride_ + c];
    return biased_ ? value + bias_[c] : value;
  }

  // Expect element (r, c) at place(r, c), and nothing else.
  void Check(const Place& place,
             const std::function<bool(T got, float biased)>& same) {
    EXPECT_TRUE(to_.UntouchedAround());
    std::vector<bool> named(4 * 68 * 68);
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t c = 0; c < columns_; ++c) {
        const std::size_t at = place(r, c);
        named[at] = true;
        EXPECT_TRUE(same(to_[at], Biased(r, c)))
            << "(" << r << ", " << c << ") of [" << rows_ << ", " << columns_
            << "]: " << to_[at] << " of " << Biased(r, c);
      }
    }
    for (std::size_t at = 0; at < named.size(); ++at) {
      EXPECT_TRUE(named[at] || to_.Untouched(at)) << at;
    }
  }

 private:
  std::size_t rows_;
  std::size_t columns_;
  bool biased_;
  std::size_t stride_;
  AtPageEnd<float> values_;
  AtPageEnd<float> bias_;
  Guarded<T> to_;
};

// Every number of rows with a few of columns, and the other way round.
void ForEachShape(
    const std::function<void(std::size_t, std::size_t, bool)>& check) {
  for (std::size_t n = 0; n <= 64; ++n) {
    for (const std::size_t m :
         {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{16},
          std::size_t{37}, std::size_t{64}}) {
      check(n, m, (n + m) % 2 == 0);
      check(m, n, (n + m) % 2 != 0);
    }
  }
}

bool IsRounded(std::uint16_t got, float want) { return got == TwinBf16(want); }

float Relu(float x) { return x < 0.0F ? 0.0F : x; }

bool IsGelu(float got, float x) {
  if (std::isnan(x) || x == -kInfinity) return std::isnan(got);
  if (x == kInfinity) return got == kInfinity;
  const double want = 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  return std::fabs(got - want) <= 4e-7 * std::max(1.0, std::fabs(double{x}));
}

class StorePatchTest : public SimdTest {};
class StoreTransposedTest : public SimdTest {};
class StorePairsTest : public SimdTest {};

TEST_P(StorePatchTest, StoresFloats) {
  ForEachShape([](std::size_t rows, std::size_t columns, bool biased) {
    const auto place = [](std::size_t r, std::size_t c) { return r * 67 + c; };
    TileCase<float> plain(rows, columns, biased);
    StorePatch(plain.patch(), Epilogue::kNone, plain.to(), 67);
    plain.Check(place, SameBits);
    TileCase<float> relu(rows, columns, biased);
    StorePatch(relu.patch(), Epilogue::kRelu, relu.to(), 67);
    relu.Check(place,
               [](float got, float x) { return SameBits(got, Relu(x)); });
    TileCase<float> gelu(rows, columns, biased);
    StorePatch(gelu.patch(), Epilogue::kGelu, gelu.to(), 67);
    gelu.Check(place, IsGelu);
  });
}

TEST_P(StorePatchTest, StoresBf16) {
  ForEachShape([](std::size_t rows, std::size_t columns, bool biased) {
    const auto place = [](std::size_t r, std::size_t c) { return r * 65 + c; };
    TileCase<std::uint16_t> plain(rows, columns, biased);
    StorePatch(plain.patch(), Epilogue::kNone, plain.to(), 65);
    plain.Check(place, IsRounded);
    TileCase<std::uint16_t> relu(rows, columns, biased);
    StorePatch(relu.patch(), Epilogue::kRelu, relu.to(), 65);
    relu.Check(place, [](std::uint16_t got, float x) {
      return IsRounded(got, Relu(x));
    });
  });
}

TEST_P(StorePatchTest, GeluIsCloseOverTheWholeRange) {
  double worst = 0.0;
  std::vector<float> x(64);
  std::vector<float> y(64);
  for (float start = -16.0F; start < 16.0F; start += 0.001F * 64.0F) {
    for (std::size_t i = 0; i < 64; ++i) x[i] = start + 0.001F * float(i);
    StorePatch({x.data(), 64, 1, 64, nullptr}, Epilogue::kGelu, y.data(), 64);
    for (std::size_t i = 0; i < 64; ++i) {
      const double want = 0.5 * x[i] * std::erfc(-x[i] / std::numbers::sqrt2);
      worst = std::max(worst, std::fabs(y[i] - want) /
                                  std::max(1.0, std::fabs(double{x[i]})));
    }
  }
  std::printf("largest error of gelu: %.3g max(1, |x|)\n", worst);
  EXPECT_LE(worst, 4e-7);
}

TEST_P(StoreTransposedTest, StoresColumnByColumn) {
  ForEachShape([](std::size_t rows, std::size_t columns, bool biased) {
    TileCase<float> patch(rows, columns, biased);
    StoreTransposed(patch.patch(), patch.to(), 66);
    patch.Check([](std::size_t r, std::size_t c) { return c * 66 + r; },
                SameBits);
  });
}

TEST_P(StorePairsTest, StoresPairsOfColumns) {
  for (const std::size_t first : {0U, 1U, 2U, 5U}) {
    ForEachShape([first](std::size_t rows, std::size_t columns, bool biased) {
      TileCase<std::uint16_t> patch(rows, columns, biased);
      StoreTransposedPairs(patch.patch(), std::int64_t(first), patch.to(), 67);
      patch.Check(
          [first](std::size_t r, std::size_t c) {
            const std::size_t k = first + c;
            return k / 2 * 2 * 67 + 2 * r + k % 2;
          },
          IsRounded);
    });
  }
}

TEST_P(StorePairsTest, StoresPairsOfRows) {
  for (const std::size_t first : {0U, 1U, 2U, 5U}) {
    ForEachShape([first](std::size_t rows, std::size_t columns, bool biased) {
      TileCase<std::uint16_t> patch(rows, columns, biased);
      StoreRowPairs(patch.patch(), std::int64_t(first), patch.to(), 67);
      patch.Check(
          [first](std::size_t r, std::size_t c) {
            const std::size_t k = first + r;
            return k / 2 * 2 * 67 + 2 * c + k % 2;
          },
          IsRounded);
    });
  }
}

class NonFiniteEndTest : public SimdTest {};

TEST_P(NonFiniteEndTest, FindsTheLastRowWithAnyPlaceOfIt) {
  constexpr float kTooLarge = 0x1.ffp127F;
  for (const std::int64_t columns : {1, 15, 16, 17, 40, 64}) {
    std::vector<float> values(64 * 65, 1.0F);
    std::vector<float> bias(64);
    const Patch patch = {values.data(), 65, 64, columns, bias.data()};
    const Patch without_bias = {values.data(), 65, 64, columns, nullptr};
    ASSERT_EQ(NonFiniteEnd(patch), 0);
    // Beside the patch.
    if (columns < 65) values[static_cast<std::size_t>(columns)] = kNaN;
    ASSERT_EQ(NonFiniteEnd(patch), 0);
    for (std::int64_t c = 0; c < columns; ++c) {
      for (const float odd :
           {kNaN, kInfinity, -kInfinity, kTooLarge, -kTooLarge}) {
        float& place = values[static_cast<std::size_t>(65 * (c % 64) + c)];
        place = odd;
        EXPECT_EQ(NonFiniteEnd(patch), c % 64 + 1) << c << " " << odd;
        EXPECT_EQ(NonFiniteEnd(without_bias), c % 64 + 1);
        place = std::nextafter(kTooLarge, 0.0F);
        EXPECT_EQ(NonFiniteEnd(patch), 0);
        place = 1.0F;
      }
    }
    bias[static_cast<std::size_t>(columns - 1)] = kInfinity;
    EXPECT_EQ(NonFiniteEnd(patch), 64);
    EXPECT_EQ(NonFiniteEnd(without_bias), 0);
  }
}

INSTANTIATE_FOR_EVERY_TARGET(NonFiniteEndTest);
INSTANTIATE_FOR_EVERY_TARGET(StorePatchTest);
INSTANTIATE_FOR_EVERY_TARGET(StoreTransposedTest);
INSTANTIATE_FOR_EVERY_TARGET(StorePairsTest);

}  // namespace
}  // namespace attention
