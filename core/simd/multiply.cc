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

// A block of C is held in registers: some rows by up to kMostVectors vectors.
// Beside it live one row of B and one element of A. A fused multiply-add takes
// 4 cycles, and 2 begin in each: at least 8 must be under way. With 32
// registers 6 x 4 of 24 sums need 10 loads for 24 multiplications, with 16
// registers 6 x 2 need 8 for 12.
constexpr int kMostVectors = kLanes == 16 ? 4 : 2;
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

// kRows rows of C by kVectors vectors, from their first element on.
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
  for (std::int64_t first = 0; first < product.depth; first += run) {
    const std::int64_t end = std::min(first + run, product.depth);
    const float* from = b;
    for (std::int64_t k = first; k < end; ++k, from += product.ldb) {
      FloatVector row[kVectors];
      HWY_UNROLL(4)
      for (int j = 0; j < kVectors; ++j) {
        row[j] = hn::LoadU(d, from + j * kLanes);
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

// Rows from `first` on: blocks of kRows, then what is left.
template <int kRows, int kVectors>
HWY_INLINE void MultiplyRows(const MatrixProduct& product, std::int64_t first,
                             std::int64_t column) {
  const float* bias = product.bias == nullptr ? nullptr : product.bias + column;
  for (; product.rows - first >= kRows; first += kRows) {
    MultiplyBlock<kRows, kVectors>(product, product.a + first * product.lda,
                                   product.b + column, bias,
                                   product.c + first * product.ldc + column);
  }
  if constexpr (kRows > 1) {
    MultiplyRows<kRows - 1, kVectors>(product, first, column);
  }
}

// Columns from `column` on: strips of kVectors vectors, then what is left.
template <int kVectors>
HWY_INLINE void MultiplyColumns(const MatrixProduct& product,
                                std::int64_t column) {
  constexpr std::int64_t kWidth = kVectors * std::int64_t{kLanes};
  for (; product.columns - column >= kWidth; column += kWidth) {
    MultiplyRows<MostRows(kVectors), kVectors>(product, 0, column);
  }
  if constexpr (kVectors > 1) MultiplyColumns<kVectors - 1>(product, column);
}

bool Fuses() { return HWY_NATIVE_FMA != 0; }

void MultiplyAll(const MatrixProduct& product) {
  MultiplyColumns<kMostVectors>(product, 0);
}

}  // namespace
}  // namespace attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attention {

HWY_EXPORT(Fuses);
HWY_EXPORT(MultiplyAll);

bool MultiplyFuses() { return HWY_DYNAMIC_DISPATCH(Fuses)(); }

void Multiply(const MatrixProduct& product) {
  HWY_DYNAMIC_DISPATCH(MultiplyAll)(product);
}

}  // namespace attention
#endif
