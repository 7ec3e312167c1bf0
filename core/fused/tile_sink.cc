// SPDX-License-Identifier: Apache-2.0
#include "core/fused/tile_sink.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "core/onednn/tile.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

bool IsAligned(const std::byte* data, std::size_t size) {
  return reinterpret_cast<std::uintptr_t>(data) % size == 0;
}

}  // namespace

std::int64_t RowSink::RunLength(std::int64_t row, std::int64_t rows) const {
  const auto targets = targets_.subspan(static_cast<std::size_t>(row),
                                        static_cast<std::size_t>(rows));
  const auto end = std::ranges::adjacent_find(
      targets, [](std::int64_t a, std::int64_t b) { return b != a + 1; });
  return end == targets.end() ? rows : end - targets.begin() + 1;
}

void RowSink::Store(std::int64_t row, std::int64_t column,
                    const Tile& tile) const {
  for (std::int64_t first = 0; first < tile.rows;) {
    Tile run = tile;
    run.values += first * tile.stride;
    run.rows = RunLength(row + first, tile.rows - first);
    StoreRows(targets_[static_cast<std::size_t>(row + first)], column, run);
    first += run.rows;
  }
}

TileSink::Place RowSink::Accept(std::int64_t row, std::int64_t column,
                                std::int64_t rows,
                                std::int64_t /*columns*/) const {
  const std::int64_t width = matrix_.shape.back();
  std::byte* to =
      matrix_.data +
      static_cast<std::size_t>(targets_[static_cast<std::size_t>(row)] * width +
                               column) *
          sizeof(float);
  const bool as_is = matrix_.dtype == DataType::kFloat32 &&
                     epilogue_ == Epilogue::kNone &&
                     IsAligned(to, sizeof(float));
  if (!as_is || RunLength(row, rows) < rows) return {};
  return {reinterpret_cast<float*>(to), width};
}

void RowSink::StoreRows(std::int64_t target, std::int64_t column,
                        const Tile& tile) const {
  const std::int64_t width = matrix_.shape.back();
  const std::size_t size = DataTypeSize(matrix_.dtype);
  std::byte* to =
      matrix_.data + static_cast<std::size_t>(target * width + column) * size;
  if (IsAligned(to, size)) {
    if (matrix_.dtype == DataType::kFloat32) {
      return StoreTile(tile, epilogue_, reinterpret_cast<float*>(to), width);
    }
    if (matrix_.dtype == DataType::kBFloat16) {
      return StoreTile(tile, epilogue_, reinterpret_cast<std::uint16_t*>(to),
                       width);
    }
  }
  std::array<float, kTileRows> line;
  for (std::int64_t i = 0; i < tile.rows; ++i) {
    Tile one = tile;
    one.values += i * tile.stride;
    one.rows = 1;
    StoreTile(one, epilogue_, line.data(), tile.columns);
    StoreReals(line.data(), static_cast<std::size_t>(tile.columns),
               matrix_.dtype, to + static_cast<std::size_t>(i * width) * size);
  }
}

}  // namespace attention
