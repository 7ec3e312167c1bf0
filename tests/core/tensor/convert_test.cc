// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/convert.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

namespace attention {
namespace {

TEST(ConvertTest, EveryBFloat16SurvivesARoundTrip) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = BFloat16ToFloat(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(value))));
    } else {
      EXPECT_EQ(FloatToBFloat16(value), bits);
    }
  }
}

TEST(ConvertTest, EveryFloat16SurvivesARoundTrip) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = Float16ToFloat(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(Float16ToFloat(FloatToFloat16(value))));
    } else {
      EXPECT_EQ(FloatToFloat16(value), bits);
    }
  }
}

TEST(ConvertTest, NarrowingRoundsToNearestEven) {
  // bfloat16 has 8 significant bits: 1 + 2^-8 lies halfway.
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(1.0F + 0x1p-8F)), 1.0F);
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(1.0F + 0x3p-8F)), 1.0F + 0x1p-6F);
  EXPECT_EQ(Float16ToFloat(FloatToFloat16(1.0F + 0x1p-11F)), 1.0F);
  EXPECT_EQ(Float16ToFloat(FloatToFloat16(65520.0F)),
            std::numeric_limits<float>::infinity());
}

TEST(ConvertTest, DoublesAreRoundedOnceNotTwice) {
  // Just above the halfway point, by less than a float can tell.
  const std::array<double, 2> values = {1.0 + 0x1p-8 + 0x1p-40,
                                        -(1.0 + 0x1p-8 + 0x1p-40)};
  std::array<std::uint16_t, 2> bits{};
  StoreReals(values.data(), 2, DataType::kBFloat16,
             reinterpret_cast<std::byte*>(bits.data()));
  EXPECT_EQ(BFloat16ToFloat(bits[0]), 1.0F + 0x1p-7F);
  EXPECT_EQ(BFloat16ToFloat(bits[1]), -(1.0F + 0x1p-7F));
}

TEST(ConvertTest, SpecialDoublesStaySpecial) {
  const std::array<double, 4> values = {
      std::numeric_limits<double>::infinity(), 1e300,
      std::numeric_limits<double>::quiet_NaN(), 1e-300};
  std::array<std::uint16_t, 4> bits{};
  for (const DataType dtype : {DataType::kBFloat16, DataType::kFloat16}) {
    auto* bytes = reinterpret_cast<std::byte*>(bits.data());
    StoreReals(values.data(), values.size(), dtype, bytes);
    std::array<double, 4> back{};
    LoadReals(dtype, bytes, back.size(), back.data());
    EXPECT_TRUE(std::isinf(back[0]));
    EXPECT_TRUE(std::isinf(back[1]));
    EXPECT_TRUE(std::isnan(back[2]));
    EXPECT_EQ(back[3], 0.0);
  }
}

TEST(ConvertTest, ReadsUnalignedElements) {
  std::array<std::byte, 9> bytes{};
  const float value = 1.5F;
  StoreReals(&value, 1, DataType::kFloat64, bytes.data() + 1);
  float back = 0.0F;
  LoadReals(DataType::kFloat64, bytes.data() + 1, 1, &back);
  EXPECT_EQ(back, value);
}

}  // namespace
}  // namespace attention
