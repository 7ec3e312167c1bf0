// SPDX-License-Identifier: Apache-2.0
// The vector functions that several files share, once for each target: this
// file is included again for each, hence no #pragma once.
#if defined(ATTENTION_CORE_SIMD_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTENTION_CORE_SIMD_VECTOR_INL_H_
#undef ATTENTION_CORE_SIMD_VECTOR_INL_H_
#else
#define ATTENTION_CORE_SIMD_VECTOR_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "core/simd/exp2_constants.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attention::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Of a size that the compiler knows, and that divides 16.
using FloatTag = hn::CappedTag<float, 16>;
using FloatVector = hn::Vec<FloatTag>;
constexpr std::size_t kLanes = hn::MaxLanes(FloatTag());

/// Compute 2^x lane by lane, as attention::Exp2 does.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V VectorExp2(D d, V x) {
  const hn::RebindToUnsigned<D> bits;
  const V biased = hn::Add(x, hn::Set(d, kExp2Round));
  const V r = hn::Sub(x, hn::Sub(biased, hn::Set(d, kExp2Round)));
  V p = hn::Set(d, kExp2Coefficients[0]);
  p = hn::MulAdd(p, r, hn::Set(d, kExp2Coefficients[1]));
  p = hn::MulAdd(p, r, hn::Set(d, kExp2Coefficients[2]));
  p = hn::MulAdd(p, r, hn::Set(d, kExp2Coefficients[3]));
  p = hn::MulAdd(p, r, hn::Set(d, kExp2Coefficients[4]));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
  const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(bits, biased)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, kExp2Smallest)),
                            hn::Mul(p, power));
}

/// Round floats to bfloat16, which is then the upper half of each lane; the
/// lower half is arbitrary. In integers, so that no mode of the processor's
/// matters.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> RoundInUpperHalf(D /*d*/, V value) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1U));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(du, 0x7FFFU)), odd);
  // A NaN whose payload lies in the lower half must not become infinity.
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000U));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(value)), quiet, rounded);
}

/// Round floats to the bits of bfloat16.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::Rebind<std::uint16_t, D>> RoundToBf16(D d, V value) {
  return hn::TruncateTo(hn::Rebind<std::uint16_t, D>(),
                        hn::ShiftRight<16>(RoundInUpperHalf(d, value)));
}

/// Store `count` lanes, or all if there are fewer, as they are or as bfloat16.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreLanes(D d, V value, std::size_t count, float* to) {
  if (count >= hn::Lanes(d)) {
    hn::StoreU(value, d, to);
  } else {
    hn::StoreN(value, d, to, count);
  }
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreLanes(D d, V value, std::size_t count, std::uint16_t* to) {
  const hn::Rebind<std::uint16_t, D> narrow;
  if (count >= hn::Lanes(d)) {
    hn::StoreU(RoundToBf16(d, value), narrow, to);
  } else {
    hn::StoreN(RoundToBf16(d, value), narrow, to, count);
  }
}

/// Load `count` lanes, or all if there are fewer; the others are 0.
template <class D>
HWY_INLINE hn::Vec<D> LoadLanes(D d, const float* from, std::size_t count) {
  return count >= hn::Lanes(d) ? hn::LoadU(d, from) : hn::LoadN(d, from, count);
}

}  // namespace attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
