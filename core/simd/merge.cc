// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <limits>

#include "core/simd/softmax.h"
#include "core/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/simd/merge.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which they depend on.
#include "core/simd/vector_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attention::HWY_NAMESPACE {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

HWY_INLINE float OneExp(float x) {
  const hn::FixedTag<float, 4> d;
  return hn::GetLane(VectorExp2(d, hn::Set(d, x * kLog2E)));
}

// to <- to a + from b
HWY_INLINE void Combine(std::size_t columns, const float* from, const float* ab,
                        float* to) {
  const FloatTag d;
  const FloatVector a = hn::Set(d, ab[0]);
  const FloatVector b = hn::Set(d, ab[1]);
  for (std::size_t j = 0; j < columns; j += kLanes) {
    const std::size_t count = columns - j;
    const FloatVector added = hn::Mul(LoadLanes(d, from + j, count), b);
    StoreLanes(d, hn::MulAdd(LoadLanes(d, to + j, count), a, added), count,
               to + j);
  }
}

template <typename To>
HWY_INLINE void Multiply(std::span<const float> from, float factor, To* to) {
  const FloatTag d;
  for (std::size_t j = 0; j < from.size(); j += kLanes) {
    const std::size_t count = from.size() - j;
    const FloatVector v = LoadLanes(d, from.data() + j, count);
    StoreLanes(d, hn::Mul(v, hn::Set(d, factor)), count, to + j);
  }
}

// What a row of the sum l is multiplied by.
HWY_INLINE float Normaliser(float sum, bool masked_is_nan) {
  if (sum == 0.0F) return masked_is_nan ? kNaN : 1.0F;
  return 1.0F / sum;
}

void Merge(std::int64_t rows, std::int64_t columns, const RunningRows& into,
           const RunningRows& block) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const float maximum = std::max(into.maxima[i], block.maxima[i]);
    const float safe = maximum == kMinusInfinity ? 0.0F : maximum;
    const float ab[] = {OneExp(into.maxima[i] - safe),
                        OneExp(block.maxima[i] - safe)};
    into.maxima[i] = maximum;
    into.sums[i] = into.sums[i] * ab[0] + block.sums[i] * ab[1];
    Combine(static_cast<std::size_t>(columns), block.values + i * block.stride,
            ab, into.values + i * into.stride);
  }
}

void Finish(std::int64_t rows, std::int64_t columns, const RunningRows& from,
            const FinishedRows& to) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::span<const float> row(from.values + i * from.stride,
                                     static_cast<std::size_t>(columns));
    const float factor = Normaliser(from.sums[i], to.masked_is_nan);
    if (to.floats != nullptr) {
      Multiply(row, factor, to.floats + i * to.stride);
    } else {
      Multiply(row, factor, to.bf16 + i * to.stride);
    }
  }
}

void Scale(std::span<const float> from, float factor, bool accumulate,
           float* to) {
  if (!accumulate) return Multiply(from, factor, to);
  const FloatTag d;
  for (std::size_t j = 0; j < from.size(); j += kLanes) {
    const std::size_t count = from.size() - j;
    const FloatVector sum =
        hn::MulAdd(LoadLanes(d, from.data() + j, count), hn::Set(d, factor),
                   LoadLanes(d, to + j, count));
    StoreLanes(d, sum, count, to + j);
  }
}

}  // namespace
}  // namespace attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attention {

HWY_EXPORT(Merge);
HWY_EXPORT(Finish);
HWY_EXPORT(Scale);

void MergeBlock(std::int64_t rows, std::int64_t columns,
                const RunningRows& into, const RunningRows& block) {
  HWY_DYNAMIC_DISPATCH(Merge)(rows, columns, into, block);
}

void FinishRows(std::int64_t rows, std::int64_t columns,
                const RunningRows& from, const FinishedRows& to) {
  HWY_DYNAMIC_DISPATCH(Finish)(rows, columns, from, to);
}

void ScaleRow(std::span<const float> from, float factor, bool accumulate,
              float* to) {
  HWY_DYNAMIC_DISPATCH(Scale)(from, factor, accumulate, to);
}

}  // namespace attention
#endif
