// SPDX-License-Identifier: Apache-2.0
#include "core/simd/convert.h"

#include <xmmintrin.h>

#include "tests/core/simd/simd_test.h"

namespace attention {
namespace {

// Flush subnormals, as compute threads do, for as long as it lives.
class FlushSubnormals {
 public:
  FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040U); }
  ~FlushSubnormals() { _mm_setcsr(before_); }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  unsigned before_;
};

std::uint32_t BitsOf(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

float TwinFromHalf(std::uint16_t bits) {
  return static_cast<float>(std::bit_cast<_Float16>(bits));
}
std::uint16_t TwinToHalf(float value) {
  return std::bit_cast<std::uint16_t>(static_cast<_Float16>(value));
}

// Every upper half of a float with a few lower halves, around ties.
std::vector<float> ManyFloats() {
  std::vector<float> values;
  for (std::uint32_t upper = 0; upper < 65536; ++upper) {
    for (const std::uint32_t lower : {0U, 1U, 0xFFFU, 0x1000U, 0x1001U, 0x3000U,
                                      0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU}) {
      values.push_back(std::bit_cast<float>(upper << 16U | lower));
    }
  }
  return values;
}

class SimdConvertTest : public SimdTest {
 protected:
  void CheckEveryNumber() {
    std::vector<std::uint16_t> bits(65536);
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = std::uint16_t(i);
    std::vector<float> halves(bits.size());
    std::vector<float> bf16(bits.size());
    HalfToFloat(bits.data(), bits.size(), halves.data());
    Bf16ToFloat(bits.data(), bits.size(), bf16.data());
    for (std::size_t i = 0; i < bits.size(); ++i) {
      ASSERT_EQ(BitsOf(halves[i]), BitsOf(TwinFromHalf(bits[i]))) << i;
      ASSERT_EQ(BitsOf(bf16[i]), i << 16U);
    }
    const std::vector<float> floats = ManyFloats();
    std::vector<std::uint16_t> to_half(floats.size());
    std::vector<std::uint16_t> to_bf16(floats.size());
    FloatToHalf(floats.data(), floats.size(), to_half.data());
    FloatToBf16(floats.data(), floats.size(), to_bf16.data());
    for (std::size_t i = 0; i < floats.size(); ++i) {
      ASSERT_EQ(to_half[i], TwinToHalf(floats[i])) << BitsOf(floats[i]);
      ASSERT_EQ(to_bf16[i], TwinBf16(floats[i])) << BitsOf(floats[i]);
    }
  }
};

TEST_P(SimdConvertTest, AgreesWithTheCompilerOnEveryNumber) {
  CheckEveryNumber();
}

TEST_P(SimdConvertTest, KeepsSubnormalsWhereTheProcessorFlushesThem) {
  const FlushSubnormals flush;
  CheckEveryNumber();
}

TEST_P(SimdConvertTest, TouchesNothingElseWhateverTheLength) {
  for (std::size_t count = 0; count <= 80; ++count) {
    AtPageEnd<float> floats(WildFloats(count, 10));
    AtPageEnd<std::uint16_t> bits(std::vector<std::uint16_t>(count, 0x3C80));
    for (const std::size_t misalignment : {0U, 1U, 5U}) {
      Guarded<float> wide(count, misalignment);
      Guarded<std::uint16_t> narrow(count, misalignment);
      for (const auto widen : {HalfToFloat, Bf16ToFloat}) {
        widen(bits.data(), count, wide.data());
        EXPECT_TRUE(wide.UntouchedAround());
      }
      for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(BitsOf(wide[i]), 0x3C800000U);
      }
      FloatToHalf(floats.data(), count, narrow.data());
      EXPECT_TRUE(narrow.UntouchedAround());
      for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(narrow[i], TwinToHalf(floats[i]));
      }
      FloatToBf16(floats.data(), count, narrow.data());
      EXPECT_TRUE(narrow.UntouchedAround());
      for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(narrow[i], TwinBf16(floats[i]));
      }
    }
  }
}

TEST_P(SimdConvertTest, TakesOddAddresses) {
  for (std::size_t count = 0; count <= 40; ++count) {
    std::vector<float> floats(count);
    std::vector<std::byte> back(1 + count * sizeof(std::uint16_t));
    const std::vector<std::uint16_t> bits(count, 0x3C80);
    auto* narrow = reinterpret_cast<std::uint16_t*>(back.data() + 1);
    std::copy_n(reinterpret_cast<const std::byte*>(bits.data()),
                count * sizeof(std::uint16_t), back.data() + 1);
    const auto unchanged = [&] {
      return std::equal(back.begin() + 1, back.end(),
                        reinterpret_cast<const std::byte*>(bits.data()));
    };
    HalfToFloat(narrow, count, floats.data());
    FloatToHalf(floats.data(), count, narrow);
    EXPECT_TRUE(unchanged());
    Bf16ToFloat(narrow, count, floats.data());
    FloatToBf16(floats.data(), count, narrow);
    EXPECT_TRUE(unchanged());
  }
}

INSTANTIATE_FOR_EVERY_TARGET(SimdConvertTest);

}  // namespace
}  // namespace attention
