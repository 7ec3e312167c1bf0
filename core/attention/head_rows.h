// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor/convert.h"
#include "core/tensor/tensor.h"

namespace attention {

/// How the heads of a token lie in a tensor of a request.
///
/// Row r of such a tensor is token r, all heads side by side: r counts tokens
/// as (rows, heads * head size) does. With heads apart, (N, H, L, D), row n L +
/// i is made of the rows ((n H + h) L + i) of (rows, D).
struct HeadRows {
  std::int64_t num_heads = 1;
  std::int64_t length = 0;  ///< L
  bool apart = false;

  /// Call `visit(element, first, count)` for each run of elements of a row:
  /// `count` elements, from element `first` of the row, are those of the tensor
  /// from `element` on. `width` is the row's.
  template <typename Visit>
  void ForEachRun(std::int64_t row, std::int64_t width,
                  const Visit& visit) const {
    if (!apart) return visit(row * width, std::int64_t{0}, width);
    const std::int64_t head_dim = width / num_heads;
    const std::int64_t sequence = row / length;
    for (std::int64_t h = 0; h < num_heads; ++h) {
      const std::int64_t place =
          (sequence * num_heads + h) * length + row % length;
      visit(place * head_dim, h * head_dim, head_dim);
    }
  }
};

/// Read row `row`, `width` elements, of a floating tensor.
template <typename Real>
void LoadHeadRow(const TensorView& tensor, const HeadRows& heads,
                 std::int64_t row, std::int64_t width, Real* to) {
  const std::size_t size = DataTypeSize(tensor.dtype);
  heads.ForEachRun(
      row, width, [&](std::int64_t element, std::int64_t first, auto count) {
        LoadReals(tensor.dtype,
                  tensor.data + static_cast<std::size_t>(element) * size,
                  static_cast<std::size_t>(count), to + first);
      });
}

/// Write row `row`, `width` elements, of a floating tensor.
template <typename Real>
void StoreHeadRow(const Real* from, const HeadRows& heads, std::int64_t row,
                  std::int64_t width, const MutableTensorView& tensor) {
  const std::size_t size = DataTypeSize(tensor.dtype);
  heads.ForEachRun(
      row, width, [&](std::int64_t element, std::int64_t first, auto count) {
        StoreReals(from + first, static_cast<std::size_t>(count), tensor.dtype,
                   tensor.data + static_cast<std::size_t>(element) * size);
      });
}

}  // namespace attention
