// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/tile_sink.h"

#include <array>
#include <cstddef>

#include "core/onednn/brgemm.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

bool IsAligned(const std::byte* data, std::size_t size) {
  return reinterpret_cast<std::uintptr_t>(data) % size == 0;
}

}  // namespace

void RowSink::Store(std::int64_t row, std::int64_t column,
                    const Tile& tile) const {
  // Runs of rows that are neighbours in the matrix as well.
  for (std::int64_t first = 0; first < tile.rows;) {
    const std::int64_t target = targets_[static_cast<std::size_t>(row + first)];
    std::int64_t end = first + 1;
    while (end < tile.rows && targets_[static_cast<std::size_t>(row + end)] ==
                                  target + (end - first)) {
      ++end;
    }
    Tile run = tile;
    run.values += first * tile.stride;
    run.rows = end - first;
    StoreRows(target, column, run);
    first = end;
  }
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
  std::array<float, Brgemm::kMaxRows> line;
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
