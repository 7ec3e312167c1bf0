// SPDX-License-Identifier: Apache-2.0
#include "core/simd/store.h"

#include <array>
#include <cstddef>
#include <numbers>

#include "core/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/simd/store.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which they depend on.
#include "core/simd/vector_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attention::HWY_NAMESPACE {
namespace {

// From here on, rounding to bfloat16 yields infinity.
constexpr float kInfiniteAsBf16 = 0x1.ffp127F;

// With u = |x| and t = 1 / (1 + kGeluReciprocal u), the normal distribution's
// tail is Phi(-u) = 2^(-u^2 log2(e) / 2) (c_0 t^6 + ... + c_5 t): the form of
// Abramowitz and Stegun 26.2.17. Coefficients fitted to u Phi(-u) / max(1, u)
// on [0, 7.5] by iterated reweighted least squares, at most 2.3e-9 off, then
// rounded to float from c_5 on, those left fitted anew after each.
constexpr float kGeluReciprocal = 0.28F;
constexpr std::array<float, 6> kGeluCoefficients = {
    -0.107782178F, 0.397838652F,  -0.249772295F,
    0.279098868F,  0.0634607375F, 0.117156088F};

// x Phi(x)
HWY_INLINE FloatVector Gelu(FloatVector x) {
  const FloatTag d;
  const FloatVector one = hn::Set(d, 1.0F);
  const FloatVector u = hn::Abs(x);
  const FloatVector t =
      hn::Div(one, hn::MulAdd(u, hn::Set(d, kGeluReciprocal), one));
  FloatVector p = hn::Set(d, kGeluCoefficients[0]);
  p = hn::MulAdd(p, t, hn::Set(d, kGeluCoefficients[1]));
  p = hn::MulAdd(p, t, hn::Set(d, kGeluCoefficients[2]));
  p = hn::MulAdd(p, t, hn::Set(d, kGeluCoefficients[3]));
  p = hn::MulAdd(p, t, hn::Set(d, kGeluCoefficients[4]));
  p = hn::MulAdd(p, t, hn::Set(d, kGeluCoefficients[5]));
  const FloatVector exponent =
      hn::Mul(hn::Mul(u, u), hn::Set(d, -0.5F * std::numbers::log2e_v<float>));
  const FloatVector tail = hn::Mul(hn::Mul(p, t), VectorExp2(d, exponent));
  const auto negative = hn::Lt(x, hn::Zero(d));
  return hn::Mul(x, hn::IfThenElse(negative, tail, hn::Sub(one, tail)));
}

template <Epilogue Kind>
HWY_INLINE FloatVector Apply(FloatVector x) {
  const FloatTag d;
  if constexpr (Kind == Epilogue::kGelu) return Gelu(x);
  if constexpr (Kind == Epilogue::kRelu) {
    return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
  }
  return x;
}

// `count` elements of a row with their bias, from `column` on.
HWY_INLINE FloatVector Biased(const Patch& patch, std::int64_t row,
                              std::int64_t column) {
  const FloatTag d;
  const auto count = static_cast<std::size_t>(patch.columns - column);
  const FloatVector x =
      LoadLanes(d, patch.values + row * patch.stride + column, count);
  if (patch.bias == nullptr) return x;
  return hn::Add(x, LoadLanes(d, patch.bias + column, count));
}

template <Epilogue Kind, typename To>
HWY_INLINE void StoreWith(const Patch& patch, To* to, std::int64_t to_stride) {
  for (std::int64_t r = 0; r < patch.rows; ++r) {
    for (std::int64_t c = 0; c < patch.columns; c += std::int64_t{kLanes}) {
      StoreLanes(FloatTag(), Apply<Kind>(Biased(patch, r, c)),
                 static_cast<std::size_t>(patch.columns - c),
                 to + r * to_stride + c);
    }
  }
}

template <typename To>
HWY_INLINE void StoreAny(const Patch& patch, Epilogue epilogue, To* to,
                         std::int64_t to_stride) {
  switch (epilogue) {
    case Epilogue::kNone:
      return StoreWith<Epilogue::kNone>(patch, to, to_stride);
    case Epilogue::kRelu:
      return StoreWith<Epilogue::kRelu>(patch, to, to_stride);
    case Epilogue::kGelu:
      return StoreWith<Epilogue::kGelu>(patch, to, to_stride);
  }
}

// One row of the patch into every other element of `to`.
HWY_INLINE void StoreHalfPairs(const Patch& patch, std::int64_t row,
                               std::uint16_t* to) {
  const FloatTag d;
  HWY_ALIGN std::array<std::uint16_t, kLanes> rounded;
  for (std::int64_t c = 0; c < patch.columns; c += std::int64_t{kLanes}) {
    hn::StoreU(RoundToBf16(d, Biased(patch, row, c)),
               hn::Rebind<std::uint16_t, FloatTag>(), rounded.data());
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::int64_t column = c + static_cast<std::int64_t>(i);
      if (column < patch.columns) to[2 * column] = rounded[i];
    }
  }
}

// Rows `row` and `row` + 1 side by side.
HWY_INLINE void StorePairs(const Patch& patch, std::int64_t row,
                           std::uint16_t* to) {
  const FloatTag d;
  const hn::RebindToUnsigned<FloatTag> du;
  const hn::Repartition<std::uint16_t, FloatTag> halves;
  for (std::int64_t c = 0; c < patch.columns; c += std::int64_t{kLanes}) {
    const auto even = RoundInUpperHalf(d, Biased(patch, row, c));
    const auto odd = RoundInUpperHalf(d, Biased(patch, row + 1, c));
    const auto pairs =
        hn::BitCast(halves, hn::Or(hn::ShiftRight<16>(even),
                                   hn::And(odd, hn::Set(du, 0xFFFF0000U))));
    const auto count = static_cast<std::size_t>(patch.columns - c);
    if (count >= kLanes) {
      hn::StoreU(pairs, halves, to + 2 * c);
    } else {
      hn::StoreN(pairs, halves, to + 2 * c, 2 * count);
    }
  }
}

void StoreFloats(const Patch& patch, Epilogue epilogue, float* to,
                 std::int64_t to_stride) {
  StoreAny(patch, epilogue, to, to_stride);
}

void StoreBf16(const Patch& patch, Epilogue epilogue, std::uint16_t* to,
               std::int64_t to_stride) {
  StoreAny(patch, epilogue, to, to_stride);
}

void RowPairs(const Patch& patch, std::int64_t first_row, std::uint16_t* to,
              std::int64_t to_stride) {
  for (std::int64_t r = 0; r < patch.rows;) {
    const std::int64_t k = first_row + r;
    std::uint16_t* pair = to + k / 2 * 2 * to_stride;
    if (k % 2 == 0 && r + 1 < patch.rows) {
      StorePairs(patch, r, pair);
      r += 2;
    } else {
      StoreHalfPairs(patch, r, pair + k % 2);
      r += 1;
    }
  }
}

HWY_INLINE bool IsFinite(const float* row, const float* bias,
                         std::size_t columns) {
  const FloatTag d;
  const FloatVector limit = hn::Set(d, kInfiniteAsBf16);
  auto finite = hn::FirstN(d, kLanes);
  for (std::size_t j = 0; j < columns; j += kLanes) {
    const std::size_t count = columns - j;
    FloatVector x = LoadLanes(d, row + j, count);
    if (bias != nullptr) x = hn::Add(x, LoadLanes(d, bias + j, count));
    finite = hn::And(finite, hn::Lt(hn::Abs(x), limit));
  }
  return hn::AllTrue(d, finite);
}

std::int64_t LastNonFinite(const Patch& patch) {
  std::int64_t end = patch.rows;
  while (end > 0 &&
         IsFinite(patch.values + (end - 1) * patch.stride, patch.bias,
                  static_cast<std::size_t>(patch.columns))) {
    --end;
  }
  return end;
}

}  // namespace
}  // namespace attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attention {

HWY_EXPORT(StoreFloats);
HWY_EXPORT(StoreBf16);
HWY_EXPORT(RowPairs);
HWY_EXPORT(LastNonFinite);

void StorePatch(const Patch& patch, Epilogue epilogue, float* to,
                std::int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(StoreFloats)(patch, epilogue, to, to_stride);
}

void StorePatch(const Patch& patch, Epilogue epilogue, std::uint16_t* bf16,
                std::int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(StoreBf16)(patch, epilogue, bf16, to_stride);
}

void StoreRowPairs(const Patch& patch, std::int64_t first_row,
                   std::uint16_t* to, std::int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(RowPairs)(patch, first_row, to, to_stride);
}

std::int64_t NonFiniteEnd(const Patch& patch) {
  return HWY_DYNAMIC_DISPATCH(LastNonFinite)(patch);
}

}  // namespace attention
#endif
