// SPDX-License-Identifier: Apache-2.0
#include "core/simd/convert.h"

#include <cstring>

#include "core/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/simd/convert.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which they depend on.
#include "core/simd/vector_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attention::HWY_NAMESPACE {
namespace {

using HalfTag = hn::Rebind<std::uint16_t, FloatTag>;

// 16-bit elements come from and go to messages, where they may stand at odd
// addresses: what is less than a vector passes through an aligned one.
HWY_INLINE hn::Vec<HalfTag> LoadBits(const std::uint16_t* from,
                                     std::size_t count) {
  const HalfTag d;
  if (count >= kLanes) return hn::LoadU(d, from);
  HWY_ALIGN std::uint16_t lanes[kLanes] = {};
  std::memcpy(lanes, from, count * sizeof(std::uint16_t));
  return hn::Load(d, lanes);
}

HWY_INLINE void StoreBits(hn::Vec<HalfTag> bits, std::size_t count,
                          std::uint16_t* to) {
  const HalfTag d;
  if (count >= kLanes) return hn::StoreU(bits, d, to);
  HWY_ALIGN std::uint16_t lanes[kLanes];
  hn::Store(bits, d, lanes);
  std::memcpy(to, lanes, count * sizeof(std::uint16_t));
}

void WidenBf16(const std::uint16_t* from, std::size_t count, float* to) {
  const hn::RebindToUnsigned<FloatTag> du;
  for (std::size_t i = 0; i < count; i += kLanes) {
    const auto bits = hn::PromoteTo(du, LoadBits(from + i, count - i));
    StoreLanes(FloatTag(), hn::BitCast(FloatTag(), hn::ShiftLeft<16>(bits)),
               count - i, to + i);
  }
}

void NarrowToBf16(const float* from, std::size_t count, std::uint16_t* to) {
  for (std::size_t i = 0; i < count; i += kLanes) {
    const FloatVector v = LoadLanes(FloatTag(), from + i, count - i);
    StoreBits(RoundToBf16(FloatTag(), v), count - i, to + i);
  }
}

// Where the processor converts halves, it does so whatever its modes; where
// Highway would have to emulate it in floats, the compiler's library does.
#if HWY_TARGET == HWY_SSE2

void WidenHalf(const std::uint16_t* from, std::size_t count, float* to) {
  for (std::size_t i = 0; i < count; ++i) {
    _Float16 half = 0;
    std::memcpy(&half, from + i, sizeof(half));
    to[i] = static_cast<float>(half);
  }
}

void NarrowToHalf(const float* from, std::size_t count, std::uint16_t* to) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto half = static_cast<_Float16>(from[i]);
    std::memcpy(to + i, &half, sizeof(half));
  }
}

#else

void WidenHalf(const std::uint16_t* from, std::size_t count, float* to) {
  const hn::Rebind<hwy::float16_t, FloatTag> half;
  for (std::size_t i = 0; i < count; i += kLanes) {
    const auto v = hn::BitCast(half, LoadBits(from + i, count - i));
    StoreLanes(FloatTag(), hn::PromoteTo(FloatTag(), v), count - i, to + i);
  }
}

void NarrowToHalf(const float* from, std::size_t count, std::uint16_t* to) {
  const hn::Rebind<hwy::float16_t, FloatTag> half;
  for (std::size_t i = 0; i < count; i += kLanes) {
    const FloatVector v = LoadLanes(FloatTag(), from + i, count - i);
    StoreBits(hn::BitCast(HalfTag(), hn::DemoteTo(half, v)), count - i, to + i);
  }
}

#endif

}  // namespace
}  // namespace attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attention {

HWY_EXPORT(WidenBf16);
HWY_EXPORT(NarrowToBf16);
HWY_EXPORT(WidenHalf);
HWY_EXPORT(NarrowToHalf);

void Bf16ToFloat(const std::uint16_t* from, std::size_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(WidenBf16)(from, count, to);
}

void FloatToBf16(const float* from, std::size_t count, std::uint16_t* to) {
  HWY_DYNAMIC_DISPATCH(NarrowToBf16)(from, count, to);
}

void HalfToFloat(const std::uint16_t* from, std::size_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(WidenHalf)(from, count, to);
}

void FloatToHalf(const float* from, std::size_t count, std::uint16_t* to) {
  HWY_DYNAMIC_DISPATCH(NarrowToHalf)(from, count, to);
}

}  // namespace attention
#endif
