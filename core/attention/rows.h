// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/tensor/convert.h"
#include "core/tensor/data_type.h"

namespace attention {

/// Rows [first, first + count) of some that are numbered from 0.
struct RowRange {
  std::int64_t first = 0;
  std::int64_t count = 0;

  [[nodiscard]] std::int64_t end() const { return first + count; }
};

/// Rows of equal width somewhere in a tensor, `step` elements apart.
///
/// A row's elements lie side by side or, with `head_dim` set, head by head:
/// head_dim of them side by side, head_step elements from head to head. So are
/// the rows of a sequence read and written where the caller has them, be they
/// batched, sequence-first (L, N, E), ragged, or with heads apart (N, H, L, D).
/// Byte is std::byte or const std::byte. Never owns.
template <typename Byte>
struct BasicRows {
  Byte* data = nullptr;  ///< row 0
  std::int64_t step = 0;
  std::int64_t head_dim = 0;  ///< 0: the whole row lies together
  std::int64_t head_step = 0;
  DataType dtype = DataType::kFloat32;

  /// The first element of row i.
  [[nodiscard]] Byte* row(std::int64_t i) const {
    return data + i * step * element_size();
  }
  /// The rows from row i on.
  [[nodiscard]] BasicRows from_row(std::int64_t i) const {
    return {row(i), step, head_dim, head_step, dtype};
  }
  /// Bytes from row to row.
  [[nodiscard]] std::int64_t row_bytes() const { return step * element_size(); }
  /// Whether rows of `width` elements follow one another without a gap.
  [[nodiscard]] bool are_packed(std::int64_t width) const {
    return step == width && head_dim == 0;
  }
  [[nodiscard]] std::int64_t element_size() const {
    return static_cast<std::int64_t>(DataTypeSize(dtype));
  }

  // NOLINTNEXTLINE(google-explicit-constructor)
  operator BasicRows<const std::byte>() const
    requires(!std::is_const_v<Byte>)
  {
    return {data, step, head_dim, head_step, dtype};
  }
};

using Rows = BasicRows<const std::byte>;
using MutableRows = BasicRows<std::byte>;

/// The rows of a dense matrix of floats or doubles, `width` wide.
template <typename Real>
[[nodiscard]] auto RowsOfMatrix(Real* data, std::int64_t width) {
  using Byte =
      std::conditional_t<std::is_const_v<Real>, const std::byte, std::byte>;
  constexpr bool kIsDouble = std::is_same_v<std::remove_const_t<Real>, double>;
  return BasicRows<Byte>{
      .data = reinterpret_cast<Byte*>(data),
      .step = width,
      .dtype = kIsDouble ? DataType::kFloat64 : DataType::kFloat32};
}

/// Read row i, `width` elements of a floating dtype.
template <typename Real>
void ReadRow(const Rows& rows, std::int64_t i, std::int64_t width, Real* to) {
  const std::byte* from = rows.row(i);
  const std::int64_t run = rows.head_dim == 0 ? width : rows.head_dim;
  for (std::int64_t first = 0; first < width; first += run) {
    LoadReals(rows.dtype, from, static_cast<std::size_t>(run), to + first);
    from += rows.head_step * rows.element_size();
  }
}

/// Write row i, `width` elements of a floating dtype.
template <typename Real>
void WriteRow(const Real* from, std::int64_t width, const MutableRows& rows,
              std::int64_t i) {
  std::byte* to = rows.row(i);
  const std::int64_t run = rows.head_dim == 0 ? width : rows.head_dim;
  for (std::int64_t first = 0; first < width; first += run) {
    StoreReals(from + first, static_cast<std::size_t>(run), rows.dtype, to);
    to += rows.head_step * rows.element_size();
  }
}

}  // namespace attention
