// SPDX-License-Identifier: Apache-2.0
#include "core/simd/multiply.h"

#include <algorithm>
#include <cstring>

#include "core/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/simd/multiply.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which they depend on.
#include "core/simd/vector_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attention::HWY_NAMESPACE {
namespace {

// A block of C is held in registers: some rows by some vectors. Beside it live
// one row of B and one element of A. A fused multiply-add takes 4 cycles, and 2
// begin in each: at least 8 must be under way. With 32 registers 6 x 4 of 24
// sums need 10 loads for 24 multiplications, with 16 registers 6 x 2 need 8 for
// 12.
constexpr int kStripVectors = kLanes == 16 ? 4 : 16 / static_cast<int>(kLanes);
constexpr int kMostVectors = kLanes == 4 ? 2 : kStripVectors;
constexpr std::int64_t kStrip = kStripVectors * std::int64_t{kLanes};
// The narrower, the more rows.
constexpr int MostRows(int vectors) {
  if (kLanes < 16 || vectors == 4) return 6;
  return vectors == 3 ? 8 : 12;
}

// An element that may be misaligned.
HWY_INLINE float Load(const float* from) {
  float value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// Where column `column` of B begins.
HWY_INLINE const float* ColumnOf(const MatrixProduct& product,
                                 std::int64_t column) {
  if (product.strip_step == 0) return product.b + column;
  return product.b + column / kStrip * product.strip_step + column % kStrip;
}

// kRows rows of C by kVectors vectors, from their first element on; of more
// vectors than a strip has, strip by strip.
template <int kRows, int kVectors>
HWY_INLINE void MultiplyBlock(const MatrixProduct& product, const float* a,
                              const float* b, const float* bias, float* c) {
  const FloatTag d;
  FloatVector sums[kRows][kVectors];
  HWY_UNROLL(12)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(4)
    for (int j = 0; j < kVectors; ++j) {
      sums[i][j] = product.accumulate
                       ? hn::LoadU(d, c + i * product.ldc + j * kLanes)
                       : hn::Zero(d);
    }
  }
  const std::int64_t run = product.run > 0 ? product.run : product.depth;
  const std::int64_t strip_step =
      product.strip_step > 0 ? product.strip_step : kStrip;
  for (std::int64_t first = 0; first < product.depth; first += run) {
    const std::int64_t end = std::min(first + run, product.depth);
    const float* from = b;
    HWY_UNROLL(4)
    for (std::int64_t k = first; k < end; ++k, from += product.ldb) {
      FloatVector row[kVectors];
      HWY_UNROLL(4)
      for (int j = 0; j < kVectors; ++j) {
        row[j] = hn::LoadU(d, from + j / kStripVectors * strip_step +
                                  j % kStripVectors * std::int64_t{kLanes});
      }
      HWY_UNROLL(12)
      for (int i = 0; i < kRows; ++i) {
        const FloatVector factor = hn::Set(d, Load(a + i * product.lda + k));
        HWY_UNROLL(4)
        for (int j = 0; j < kVectors; ++j) {
          sums[i][j] = hn::MulAdd(factor, row[j], sums[i][j]);
        }
      }
    }
    b += product.run_step;
  }
  HWY_UNROLL(12)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(4)
    for (int j = 0; j < kVectors; ++j) {
      if (bias != nullptr) {
        sums[i][j] = hn::Add(sums[i][j], hn::LoadU(d, bias + j * kLanes));
      }
      hn::StoreU(sums[i][j], d, c + i * product.ldc + j * kLanes);
    }
  }
}

// Rows of the next block: as many as a block takes, but no last block so low
// that too few sums would be under way.
template <int kMost>
HWY_INLINE std::int64_t NextRows(std::int64_t left) {
  if (left >= kMost + 3 || left == kMost) return kMost;
  return left > kMost ? (left + 1) / 2 : left;
}

// A block of `rows` rows, at most kRows.
template <int kRows, int kVectors>
HWY_INLINE void MultiplyRows(const MatrixProduct& product, std::int64_t rows,
                             std::int64_t first, std::int64_t column) {
  if (rows == kRows) {
    return MultiplyBlock<kRows, kVectors>(
        product, product.a + first * product.lda, ColumnOf(product, column),
        product.bias == nullptr ? nullptr : product.bias + column,
        product.c + first * product.ldc + column);
  }
  if constexpr (kRows > 1) {
    MultiplyRows<kRows - 1, kVectors>(product, rows, first, column);
  }
}

// Columns from `column` on: blocks of kVectors vectors, then what is left.
template <int kVectors>
HWY_INLINE void MultiplyColumns(const MatrixProduct& product,
                                std::int64_t column) {
  constexpr std::int64_t kWidth = kVectors * std::int64_t{kLanes};
  constexpr int kMost = MostRows(kVectors);
  for (; product.columns - column >= kWidth; column += kWidth) {
    std::int64_t rows = 0;
    for (std::int64_t first = 0; first < product.rows; first += rows) {
      rows = NextRows<kMost>(product.rows - first);
      MultiplyRows<kMost, kVectors>(product, rows, first, column);
    }
  }
  if constexpr (kVectors > 1) MultiplyColumns<kVectors - 1>(product, column);
}

// One row or two, by two strips of 16 columns at a time, which keep more sums
// under way than one. Four at a time took longer than one on Zen 3.
template <int kRows>
HWY_INLINE std::int64_t MultiplyLow(const MatrixProduct& product) {
  std::int64_t column = 0;
  for (; product.columns - column >= 2 * kStrip; column += 2 * kStrip) {
    MultiplyRows<kRows, 2 * kStripVectors>(product, kRows, 0, column);
  }
  return column;
}

bool Fuses() { return HWY_NATIVE_FMA != 0; }

void MultiplyAll(const MatrixProduct& product) {
  std::int64_t column = 0;
  if constexpr (kLanes == 8) {
    if (product.rows == 1) column = MultiplyLow<1>(product);
    if (product.rows == 2) column = MultiplyLow<2>(product);
  }
  MultiplyColumns<kMostVectors>(product, column);
}

std::int64_t Strip() { return kStrip; }

std::string_view Instructions() {
  if constexpr (kLanes == 4) return "SSE2";
  return kLanes == 8 ? "AVX2" : "AVX-512";
}

}  // namespace
}  // namespace attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attention {

HWY_EXPORT(Fuses);
HWY_EXPORT(MultiplyAll);
HWY_EXPORT(Strip);
HWY_EXPORT(Instructions);

bool MultiplyFuses() { return HWY_DYNAMIC_DISPATCH(Fuses)(); }

std::int64_t MultiplyStrip() { return HWY_DYNAMIC_DISPATCH(Strip)(); }

std::string_view SimdInstructions() {
  return HWY_DYNAMIC_DISPATCH(Instructions)();
}

void Multiply(const MatrixProduct& product) {
  HWY_DYNAMIC_DISPATCH(MultiplyAll)(product);
}

}  // namespace attention
#endif
