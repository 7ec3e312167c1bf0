// SPDX-License-Identifier: Apache-2.0
#include "core/simd/softmax.h"

#include <cstddef>
#include <limits>

#include "core/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/simd/softmax.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which they depend on.
#include "core/simd/vector_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attention::HWY_NAMESPACE {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Columns that are handled at once: as many as there are partial sums.
constexpr std::size_t kColumns = 32;
constexpr std::size_t kParts = kColumns / kLanes;

// One row of a ScoreBlock.
struct Row {
  float* scores;
  const float* mask;
  std::uint16_t* bf16;
  std::size_t limit;
  std::size_t width;
  float scale;
};

struct Plus {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Add(a, b);
  }
};

struct Larger {
  // `b` where either is NaN, which x86's maximum is.
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Max(a, b);
  }
};

// Fold a vector by halves: lane k takes in k + 8, k + 4, k + 2, k + 1.
template <class D, class V, class Operation>
HWY_INLINE float FoldVector(D /*d*/, V v, Operation operation) {
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return FoldVector(half,
                      operation(hn::LowerHalf(half, v), hn::UpperHalf(half, v)),
                      operation);
  } else {
    v = operation(v, hn::Shuffle1032(v));
    v = operation(v, hn::Shuffle2301(v));
    return hn::GetLane(v);
  }
}

template <class Operation>
HWY_INLINE float Fold(FloatVector* parts, Operation operation) {
#pragma GCC unroll 8
  for (std::size_t half = kParts / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < half; ++i) {
      parts[i] = operation(parts[i], parts[i + half]);
    }
  }
  return FoldVector(FloatTag(), parts[0], operation);
}

// t_j of `count` columns from `column` on, or of all lanes if there are fewer.
template <bool Masked>
HWY_INLINE FloatVector Logits(const Row& row, std::size_t column,
                              std::size_t count) {
  const FloatTag d;
  const FloatVector s = LoadLanes(d, row.scores + column, count);
  const FloatVector scale = hn::Set(d, row.scale);
  if constexpr (!Masked) return hn::Mul(s, scale);
  return hn::MulAdd(s, scale, LoadLanes(d, row.mask + column, count));
}

// The largest t_j. With a mask, they replace the scores.
template <bool Masked>
HWY_INLINE float Maximum(const Row& row) {
  const FloatTag d;
  FloatVector parts[kParts];
  for (FloatVector& part : parts) part = hn::Set(d, kMinusInfinity);
  std::size_t j = 0;
  for (; j + kColumns <= row.limit; j += kColumns) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kParts; ++i) {
      const std::size_t column = j + i * kLanes;
      const FloatVector t = Logits<Masked>(row, column, kLanes);
      if constexpr (Masked) hn::StoreU(t, d, row.scores + column);
      parts[i] = Larger()(t, parts[i]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kParts; ++i) {
    const std::size_t column = j + i * kLanes;
    if (column >= row.limit) break;
    const std::size_t count = row.limit - column;
    const FloatVector t =
        hn::IfThenElse(hn::FirstN(d, count), Logits<Masked>(row, column, count),
                       hn::Set(d, kMinusInfinity));
    if constexpr (Masked) hn::StoreU(t, d, row.scores + column);
    parts[i] = Larger()(t, parts[i]);
  }
  // Turns -0 into 0, whichever of the two was met first.
  return Fold(parts, Larger()) + 0.0F;
}

// P_j of `count` columns from `column` on.
template <bool Masked>
HWY_INLINE FloatVector Power(const Row& row, std::size_t column,
                             std::size_t count, float minus_maximum) {
  const FloatTag d;
  const FloatVector t = Masked ? LoadLanes(d, row.scores + column, count)
                               : Logits</*Masked=*/false>(row, column, count);
  const FloatVector below = hn::Add(t, hn::Set(d, minus_maximum));
  return VectorExp2(d, hn::Mul(below, hn::Set(d, kLog2E)));
}

HWY_INLINE void StorePower(const Row& row, std::size_t column, FloatVector p) {
  const FloatTag d;
  hn::StoreU(p, d, row.scores + column);
  if (row.bf16 != nullptr) {
    StoreLanes(d, p, kLanes, row.bf16 + column);
  }
}

// Replace what Maximum left by P, and return its sum.
template <bool Masked>
HWY_INLINE float Exponentiate(const Row& row, float minus_maximum) {
  const FloatTag d;
  FloatVector parts[kParts];
  for (FloatVector& part : parts) part = hn::Zero(d);
  std::size_t j = 0;
  for (; j + kColumns <= row.limit; j += kColumns) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kParts; ++i) {
      const std::size_t column = j + i * kLanes;
      const FloatVector p = Power<Masked>(row, column, kLanes, minus_maximum);
      StorePower(row, column, p);
      parts[i] = hn::Add(parts[i], p);
    }
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kParts; ++i) {
    const std::size_t column = j + i * kLanes;
    if (column >= row.limit) break;
    const std::size_t count = row.limit - column;
    const FloatVector p = hn::IfThenElseZero(
        hn::FirstN(d, count), Power<Masked>(row, column, count, minus_maximum));
    StorePower(row, column, p);
    parts[i] = hn::Add(parts[i], p);
  }
  j = (row.limit + kLanes - 1) / kLanes * kLanes;
  for (; j < row.width; j += kLanes) StorePower(row, j, hn::Zero(d));
  return Fold(parts, Plus());
}

template <bool Masked>
HWY_INLINE void SoftmaxRows(const ScoreBlock& block) {
  for (std::int64_t i = 0; i < block.rows; ++i) {
    const Row row = {
        .scores = block.scores + i * block.stride,
        .mask = Masked ? block.mask + i * block.mask_stride : nullptr,
        .bf16 = block.bf16 == nullptr ? nullptr : block.bf16 + i * block.stride,
        .limit = static_cast<std::size_t>(block.limits[i]),
        .width = static_cast<std::size_t>(block.width),
        .scale = block.scale};
    const float largest = Maximum<Masked>(row);
    const bool sees = largest != kMinusInfinity;
    block.maxima[i] = largest;
    block.sums[i] = Exponentiate<Masked>(row, sees ? -largest : 0.0F);
  }
}

void Softmax(const ScoreBlock& block) {
  if (block.mask == nullptr) {
    SoftmaxRows</*Masked=*/false>(block);
  } else {
    SoftmaxRows</*Masked=*/true>(block);
  }
}

}  // namespace
}  // namespace attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attention {

HWY_EXPORT(Softmax);

void SoftmaxBlock(const ScoreBlock& block) {
  HWY_DYNAMIC_DISPATCH(Softmax)(block);
}

}  // namespace attention
#endif
