// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace attention {

/// Rows a full tile has. Small enough to stay in cache, large enough to reach
/// the speed of a whole matmul.
inline constexpr std::int64_t kTileRows = 64;

/// Heights tiles are computed with: 4, 10, 16, ..., 64 rows.
///
/// A row's bits must not depend on the height of its tile. Every height but 1
/// gives the same bits with AVX-512; with AVX2, oneDNN's gemm has kernels of 6
/// rows and treats 1 to 3 left-over rows differently, so heights are 4 modulo
/// 6, as 64 is.
inline constexpr std::array<std::int64_t, 11> kTileHeights = {
    4, 10, 16, 22, 28, 34, 40, 46, 52, 58, 64};

/// Index in kTileHeights of the lowest that holds `rows` in [1, kTileRows].
[[nodiscard]] constexpr std::size_t TileHeightIndex(std::int64_t rows) {
  return static_cast<std::size_t>((std::max<std::int64_t>(rows, 4) + 1) / 6);
}
[[nodiscard]] constexpr std::int64_t TileHeight(std::int64_t rows) {
  return kTileHeights[TileHeightIndex(rows)];
}

/// Rows that `rows` rows take as tiles: full ones and one of a lower height.
[[nodiscard]] constexpr std::int64_t TiledRows(std::int64_t rows) {
  const std::int64_t tail = rows % kTileRows;
  return rows - tail + (tail > 0 ? TileHeight(tail) : 0);
}

}  // namespace attention
