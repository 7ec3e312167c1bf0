// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/attention/rows.h"
#include "core/onednn/tile.h"

namespace attention {

/// Heights of the matrices that primitives multiply. A row's bits do not depend
/// on which: they are 4 modulo 6, as oneDNN's gemm works by 6 rows with AVX2
/// and treats 1 to 3 left over differently, and none is 1, which is different
/// everywhere.
inline constexpr std::array<std::int64_t, 3> kTileHeights = {4, 16, kTileRows};
static_assert(std::ranges::all_of(kTileHeights, [](std::int64_t height) {
  return height % 6 == 4;
}));

/// Index in kTileHeights of the lowest that holds `rows`, kTileRows at most.
[[nodiscard]] constexpr std::size_t TileHeightIndex(std::int64_t rows) {
  return static_cast<std::size_t>(
      std::ranges::find_if(kTileHeights, [&](auto h) { return h >= rows; }) -
      kTileHeights.begin());
}

/// Rows [first, first + num_rows), computed as a matrix of `height` rows.
struct RowTile {
  std::int64_t first = 0;
  std::int64_t num_rows = 0;
  std::int64_t height = 0;

  [[nodiscard]] constexpr RowRange range() const { return {first, num_rows}; }
};

/// How rows are cut into tiles: of 64, or, where these would be but one or two,
/// of 16, which leave fewer rows empty and keep more threads busy.
struct RowTiles {
  explicit constexpr RowTiles(std::int64_t rows)
      : num_rows(rows), tile_rows(rows < 2 * kTileRows ? 16 : kTileRows) {}

  [[nodiscard]] constexpr std::int64_t count() const {
    return (num_rows + tile_rows - 1) / tile_rows;
  }
  [[nodiscard]] constexpr RowTile operator[](std::int64_t index) const {
    const std::int64_t first = index * tile_rows;
    const std::int64_t rows = std::min(tile_rows, num_rows - first);
    return {first, rows, kTileHeights[TileHeightIndex(rows)]};
  }

  std::int64_t num_rows;
  std::int64_t tile_rows;
};

}  // namespace attention
