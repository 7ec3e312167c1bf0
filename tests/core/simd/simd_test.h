// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "core/simd/targets.h"
#include "hwy/highway.h"

namespace attention {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Run each case with each instruction set that is compiled in and that this
/// processor has.
class SimdTest : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override {
    hwy::SetSupportedTargetsForTest(GetParam());
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  void TearDown() override {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }

  /// Whether bits are those of the scalar twins, which have std::fma.
  static bool fused() { return GetParam() != HWY_SSE2; }
};

inline std::string TargetName(
    const testing::TestParamInfo<std::int64_t>& info) {
  return hwy::TargetName(info.param);
}

#define INSTANTIATE_FOR_EVERY_TARGET(Suite)                            \
  INSTANTIATE_TEST_SUITE_P(                                            \
      , Suite, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()), \
      TargetName)

/// `count` elements, some bytes behind an aligned address, between canaries.
template <typename T>
class Guarded {
 public:
  Guarded(std::size_t count, std::size_t misalignment)
      : bytes_(2 * kMargin + 3 * kAlign + count * sizeof(T), kCanary),
        count_(count) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    offset_ = kMargin + (kAlign - (address + kMargin) % kAlign) % kAlign +
              misalignment * sizeof(T);
    bytes_.resize(offset_ + count * sizeof(T) + kMargin, kCanary);
  }

  T* data() { return reinterpret_cast<T*>(bytes_.data() + offset_); }
  const T* data() const {
    return reinterpret_cast<const T*>(bytes_.data() + offset_);
  }
  T& operator[](std::size_t i) { return data()[i]; }

  bool UntouchedAround() const {
    const auto untouched = [](std::uint8_t b) { return b == kCanary; };
    const auto end =
        bytes_.begin() + std::ptrdiff_t(offset_ + count_ * sizeof(T));
    return std::all_of(bytes_.begin(), bytes_.begin() + std::ptrdiff_t(offset_),
                       untouched) &&
           std::all_of(end, bytes_.end(), untouched);
  }

  /// Whether element i was never written (or holds the canary by chance).
  bool Untouched(std::size_t i) const {
    const std::uint8_t* p = bytes_.data() + offset_ + i * sizeof(T);
    return std::all_of(p, p + sizeof(T),
                       [](std::uint8_t b) { return b == kCanary; });
  }

 private:
  static constexpr std::size_t kMargin = 256;
  static constexpr std::size_t kAlign = 64;
  static constexpr std::uint8_t kCanary = 0xA5;

  std::vector<std::uint8_t> bytes_;
  std::size_t count_;
  std::size_t offset_ = 0;
};

/// Elements that end where reading on is a segmentation fault.
template <typename T>
class AtPageEnd {
 public:
  explicit AtPageEnd(std::size_t count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t size = (count * sizeof(T) + page - 1) / page * page;
    mapped_ = size + page;
    begin_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin_ == MAP_FAILED) throw std::bad_alloc();
    auto* end = static_cast<std::byte*>(begin_) + size;
    mprotect(end, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(end) - count;
    std::uninitialized_fill_n(data_, count, T{});
    count_ = count;
  }
  template <typename Range>
  explicit AtPageEnd(const Range& values) : AtPageEnd(std::size(values)) {
    std::copy(std::begin(values), std::end(values), data_);
  }
  ~AtPageEnd() { munmap(begin_, mapped_); }
  AtPageEnd(const AtPageEnd&) = delete;
  AtPageEnd& operator=(const AtPageEnd&) = delete;

  T* data() { return data_; }
  std::size_t size() const { return count_; }
  T& operator[](std::size_t i) { return data_[i]; }

 private:
  void* begin_;
  std::size_t mapped_;
  T* data_;
  std::size_t count_;
};

/// Whether two floats are the same bits, or both NaN.
inline bool SameBits(float got, float want) {
  if (std::isnan(got) || std::isnan(want)) {
    return std::isnan(got) && std::isnan(want);
  }
  return std::bit_cast<std::uint32_t>(got) ==
         std::bit_cast<std::uint32_t>(want);
}

/// As SameBits, or close where sums and products are rounded one by one.
inline bool SameOrClose(float got, float want, bool fused) {
  if (fused || !std::isfinite(want)) return SameBits(got, want);
  return std::fabs(got - want) <= 3e-5F * std::fabs(want) + 1e-30F;
}

/// Floats of every kind: one in four is special.
inline std::vector<float> WildFloats(std::size_t count, unsigned seed) {
  static constexpr float kSpecial[] = {kNaN,
                                       kInfinity,
                                       -kInfinity,
                                       0.0F,
                                       -0.0F,
                                       1e30F,
                                       -1e30F,
                                       1e-40F,
                                       -1e-40F,
                                       1e-30F,
                                       3.3895314e38F,
                                       std::bit_cast<float>(0x7F800001U),
                                       std::bit_cast<float>(0xFFBFFFFFU)};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 3.0F);
  std::vector<float> values(count);
  for (float& value : values) {
    value = random() % 4 == 0 ? kSpecial[random() % std::size(kSpecial)]
                              : normal(random);
  }
  return values;
}

/// Normally distributed floats.
inline std::vector<float> TameFloats(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 3.0F);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// bfloat16 of a float, nearest even, NaN kept.
inline std::uint16_t TwinBf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16U | 64U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >>
                                    16U);
}

/// Whether the bits of a bfloat16 are those of NaN.
inline bool TwinIsNaN(std::uint16_t bits) { return (bits & 0x7FFFU) > 0x7F80U; }

}  // namespace attention
