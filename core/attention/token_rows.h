// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/attention/request_plan.h"
#include "core/attention/rows.h"

namespace attention {

/// Rows of a tensor from token `first` on, one sequence's: tokens are counted
/// as (rows, width) does, or, with heads apart, (N L, H D).
template <typename Byte, typename View>
[[nodiscard]] BasicRows<Byte> RowsOf(const View& tensor,
                                     const TokenLayout& layout,
                                     std::int64_t first) {
  const std::int64_t width = tensor.shape.back();
  const auto size = static_cast<std::int64_t>(DataTypeSize(tensor.dtype));
  BasicRows<Byte> rows;
  rows.dtype = tensor.dtype;
  if (layout.heads_apart) {
    rows.data = tensor.data + first * layout.num_heads * width * size;
    rows.step = width;
    rows.head_dim = width;
    rows.head_step = layout.length * width;
  } else {
    rows.data = tensor.data + first * width * size;
    rows.step = layout.sequence_first ? layout.batch_size * width : width;
  }
  return rows;
}

}  // namespace attention
