// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstddef>
#include <cstring>

#include "core/simd/store.h"
#include "core/simd/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/simd/transpose.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which they depend on.
#include "core/simd/vector_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attention::HWY_NAMESPACE {
namespace {

// Lanes of a block, the unit within which vectors are permuted.
constexpr std::size_t kBlock = 4;

// A matrix of 32-bit words: of floats and what is added to each of its rows, or
// of pairs of bfloat16.
template <typename T>
struct Matrix {
  const T* values;  // [rows, stride]
  std::int64_t stride;
  std::int64_t rows;
  std::int64_t columns;
  const T* bias;  // [columns] or nullptr
};

// Where it goes: word (r, c) to word c * stride + r, which may be misaligned.
struct Transposed {
  std::uint8_t* bytes;
  std::int64_t stride;

  template <typename T>
  HWY_INLINE std::uint8_t* At(std::int64_t row, std::int64_t column) const {
    return bytes + (column * stride + row) * std::int64_t{sizeof(T)};
  }
};

// Put columns 0 to 3 of row 4 b, which starts at from + 4 b * stride, into
// block b of a vector, whose first block is there already.
template <std::size_t Next = 1, class D, typename T>
HWY_INLINE hn::Vec<D> InsertRows(D d, const T* from, std::int64_t stride,
                                 hn::Vec<D> v) {
  if constexpr (Next * kBlock == hn::MaxLanes(D())) {
    return v;
  } else {
    const hn::FixedTag<T, kBlock> block;
    const auto row =
        hn::LoadU(block, from + std::int64_t{Next * kBlock} * stride);
    return InsertRows<Next + 1>(d, from, stride,
                                hn::InsertBlock<int{Next}>(v, row));
  }
}

// Columns `column` to + 3 of rows `row`, + 4, + 8, ..., a block each.
template <class D, typename T>
HWY_INLINE hn::Vec<D> LoadRows(D d, const Matrix<T>& matrix, std::int64_t row,
                               std::int64_t column) {
  const T* from = matrix.values + row * matrix.stride + column;
  const hn::FixedTag<T, kBlock> block;
  const hn::Vec<D> v = InsertRows(d, from, matrix.stride,
                                  hn::ResizeBitCast(d, hn::LoadU(block, from)));
  if (matrix.bias == nullptr) return v;
  return hn::Add(v, hn::LoadDup128(d, matrix.bias + column));
}

struct Corner {
  std::int64_t row;
  std::int64_t column;
};

// Transpose as many rows as D has lanes, and four columns.
template <class D, typename T>
HWY_INLINE void TransposeFour(D d, const Matrix<T>& matrix, Corner corner,
                              const Transposed& to) {
  const auto [row, column] = corner;
  const hn::RepartitionToWide<hn::RebindToUnsigned<D>> wide;
  const hn::Repartition<std::uint8_t, D> bytes;
  const auto v0 = LoadRows(d, matrix, row, column);
  const auto v1 = LoadRows(d, matrix, row + 1, column);
  const auto v2 = LoadRows(d, matrix, row + 2, column);
  const auto v3 = LoadRows(d, matrix, row + 3, column);
  const auto low01 = hn::BitCast(wide, hn::InterleaveLower(d, v0, v1));
  const auto low23 = hn::BitCast(wide, hn::InterleaveLower(d, v2, v3));
  const auto high01 = hn::BitCast(wide, hn::InterleaveUpper(d, v0, v1));
  const auto high23 = hn::BitCast(wide, hn::InterleaveUpper(d, v2, v3));
  const hn::Vec<decltype(wide)> columns[] = {
      hn::InterleaveLower(wide, low01, low23),
      hn::InterleaveUpper(wide, low01, low23),
      hn::InterleaveLower(wide, high01, high23),
      hn::InterleaveUpper(wide, high01, high23)};
  for (std::int64_t i = 0; i < 4; ++i) {
    hn::StoreU(hn::BitCast(bytes, columns[i]), bytes,
               to.At<T>(row, column + i));
  }
}

// Transpose what is left of a matrix from `row` and `column` on.
template <typename T>
HWY_INLINE void TransposeOneByOne(const Matrix<T>& matrix, std::int64_t row,
                                  std::int64_t column, const Transposed& to) {
  for (std::int64_t c = column; c < matrix.columns; ++c) {
    for (std::int64_t r = row; r < matrix.rows; ++r) {
      T word = matrix.values[r * matrix.stride + c];
      if (matrix.bias != nullptr) word += matrix.bias[c];
      std::memcpy(to.At<T>(r, c), &word, sizeof(word));
    }
  }
}

template <typename T>
HWY_INLINE void Transpose(const Matrix<T>& matrix, const Transposed& to) {
  const hn::CappedTag<T, 16> large;
  const hn::FixedTag<T, kBlock> small;
  const std::int64_t columns = matrix.columns / 4 * 4;
  std::int64_t row = 0;
  for (; row + std::int64_t{kLanes} <= matrix.rows; row += kLanes) {
    for (std::int64_t column = 0; column < columns; column += 4) {
      TransposeFour(large, matrix, {row, column}, to);
    }
  }
  for (; row + std::int64_t{kBlock} <= matrix.rows; row += kBlock) {
    for (std::int64_t column = 0; column < columns; column += 4) {
      TransposeFour(small, matrix, {row, column}, to);
    }
  }
  TransposeOneByOne(matrix, /*row=*/0, columns, to);
  Matrix<T> left = matrix;
  left.columns = columns;
  TransposeOneByOne(left, row, /*column=*/0, to);
}

// Pairs of bfloat16 of neighbouring columns of a patch.
constexpr std::int64_t kMaxRows = 64;
constexpr std::int64_t kMaxPairs = 32;
using Pairs = std::array<std::uint32_t, kMaxRows * kMaxPairs>;

HWY_INLINE void RoundRows(const Patch& patch, Pairs& pairs) {
  const FloatTag d;
  for (std::int64_t r = 0; r < patch.rows; ++r) {
    const float* from = patch.values + r * patch.stride;
    auto* to = reinterpret_cast<std::uint16_t*>(pairs.data() + r * kMaxPairs);
    for (std::int64_t c = 0; c < patch.columns; c += std::int64_t{kLanes}) {
      const auto count = static_cast<std::size_t>(patch.columns - c);
      FloatVector v = LoadLanes(d, from + c, count);
      if (patch.bias != nullptr) {
        v = hn::Add(v, LoadLanes(d, patch.bias + c, count));
      }
      StoreLanes(d, v, kLanes, to + c);
    }
  }
}

// Store the even one of a pair of columns into every other element of `to`.
HWY_INLINE void StoreHalf(const Pairs& pairs, std::int64_t rows,
                          std::int64_t pair, std::uint16_t* to) {
  for (std::int64_t r = 0; r < rows; ++r) {
    to[2 * r] = static_cast<std::uint16_t>(
        pairs[static_cast<std::size_t>(r * kMaxPairs + pair)]);
  }
}

void TransposeFloats(const Patch& patch, float* to, std::int64_t to_stride) {
  Transpose<float>(
      {patch.values, patch.stride, patch.rows, patch.columns, patch.bias},
      {reinterpret_cast<std::uint8_t*>(to), to_stride});
}

void TransposePairs(const Patch& patch, std::int64_t first_column,
                    std::uint16_t* to, std::int64_t to_stride) {
  if (patch.columns == 0) return;
  HWY_ALIGN Pairs pairs;
  to += first_column / 2 * 2 * to_stride;
  Patch even = patch;
  if (first_column % 2 != 0) {
    even.columns = 1;
    RoundRows(even, pairs);
    StoreHalf(pairs, patch.rows, /*pair=*/0, to + 1);
    to += 2 * to_stride;
    even.columns = patch.columns - 1;
    even.values += 1;
    if (even.bias != nullptr) even.bias += 1;
  }
  RoundRows(even, pairs);
  const std::int64_t num_pairs = even.columns / 2;
  Transpose<std::uint32_t>(
      {pairs.data(), kMaxPairs, even.rows, num_pairs, /*bias=*/nullptr},
      {reinterpret_cast<std::uint8_t*>(to), to_stride});
  if (even.columns % 2 != 0) {
    StoreHalf(pairs, even.rows, num_pairs, to + 2 * num_pairs * to_stride);
  }
}

}  // namespace
}  // namespace attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attention {

HWY_EXPORT(TransposeFloats);
HWY_EXPORT(TransposePairs);

void StoreTransposed(const Patch& patch, float* to, std::int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(TransposeFloats)(patch, to, to_stride);
}

void StoreTransposedPairs(const Patch& patch, std::int64_t first_column,
                          std::uint16_t* to, std::int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(TransposePairs)(patch, first_column, to, to_stride);
}

}  // namespace attention
#endif
