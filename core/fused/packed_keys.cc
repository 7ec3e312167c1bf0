// SPDX-License-Identifier: Apache-2.0
#include "core/fused/packed_keys.h"

#include <array>
#include <atomic>

namespace attention {
namespace {

constexpr std::array<float, kChunkKeys> kZeros = {};

// `rows` rows of zeros, `columns` wide.
Tile Zeros(std::int64_t rows, std::int64_t columns, const float* bias) {
  return {.values = kZeros.data(),
          .stride = 0,
          .rows = rows,
          .columns = columns,
          .bias = bias};
}

// A part of a tile. A projection's tiles are at most kChunkKeys wide.
Tile Rows(const Tile& tile, std::int64_t first, std::int64_t count) {
  Tile part = tile;
  part.values += first * tile.stride;
  part.rows = count;
  return part;
}

Tile Columns(const Tile& tile, std::int64_t first, std::int64_t count) {
  Tile part = tile;
  part.values += first;
  part.columns = count;
  if (part.bias != nullptr) part.bias += first;
  return part;
}

// Make `end` at least `value`; several threads may at once.
void RaiseTo(std::int64_t value, std::int64_t& end) {
  const std::atomic_ref shared(end);
  std::int64_t now = shared.load(std::memory_order_relaxed);
  while (now < value &&
         !shared.compare_exchange_weak(now, value, std::memory_order_relaxed)) {
  }
}

// The last sequence that begins at or before `key`; of several that begin
// there, all but that one are without visible keys.
FusedSequence* SequenceOfKey(std::span<FusedSequence> sequences,
                             std::int64_t key) {
  return &*(
      std::ranges::upper_bound(sequences, key, {}, &FusedSequence::first_key) -
      1);
}

}  // namespace

void KeySink::Store(std::int64_t row, std::int64_t column,
                    const Tile& tile) const {
  FusedSequence* sequence = SequenceOfKey(packed_.sequences, row);
  for (std::int64_t first = 0; first < tile.rows; ++sequence) {
    const std::int64_t key = row + first - sequence->first_key;
    const std::int64_t num_keys = sequence->sequence->num_visible;
    const std::int64_t count = std::min(num_keys - key, tile.rows - first);
    if (count <= 0) continue;
    StoreKeys(*sequence, key, column, Rows(tile, first, count));
    if (key + count == num_keys) StoreEnd(*sequence, column, tile.columns);
    first += count;
  }
}

// Values of one head, whose chunks follow one another, as float32 takes them.
TileSink::Place KeySink::Accept(std::int64_t row, std::int64_t column,
                                std::int64_t rows, std::int64_t columns) const {
  if (part_ == Part::kKeys || packed_.dtype != DataType::kFloat32 ||
      packed_.watches_finite() || column % head_dim() + columns > head_dim()) {
    return {};
  }
  FusedSequence& sequence = *SequenceOfKey(packed_.sequences, row);
  const std::int64_t key = row - sequence.first_key;
  const std::int64_t left = sequence.sequence->num_visible - key;
  if (rows > left) return {};
  if (rows == left) StoreEnd(sequence, column, columns);
  const std::int64_t width = packed_.value_columns();
  std::byte* values =
      packed_.values_of(sequence, column / head_dim(), /*chunk=*/0);
  return {reinterpret_cast<float*>(values) + key * width + column % head_dim(),
          width};
}

void KeySink::StoreEnd(FusedSequence& sequence, std::int64_t column,
                       std::int64_t columns) const {
  const std::int64_t end = sequence.sequence->num_visible;
  const std::int64_t num_columns = sequence.sequence->num_columns();
  for (std::int64_t key = end; key < num_columns; ++key) {
    const bool is_bias = key == end && !appended_.empty();
    StoreKeys(sequence, key, column,
              Zeros(1, columns, is_bias ? appended_.data() + column : nullptr));
  }
  if (part_ == Part::kValues && sequence.padded_keys > num_columns) {
    StoreKeys(sequence, num_columns, column,
              Zeros(sequence.padded_keys - num_columns, columns, nullptr));
  }
}

// Store rows of a sequence, chunk by chunk and head by head.
void KeySink::StoreKeys(FusedSequence& sequence, std::int64_t key,
                        std::int64_t column, const Tile& tile) const {
  if (packed_.watches_finite()) {
    if (const std::int64_t end = NonFiniteEnd(tile); end > 0) {
      RaiseTo(key + end, sequence.non_finite_end);
    }
  }
  for (std::int64_t row = 0; row < tile.rows;) {
    const std::int64_t rows =
        std::min(tile.rows - row, kChunkKeys - (key + row) % kChunkKeys);
    for (std::int64_t first = 0; first < tile.columns;) {
      const std::int64_t in_head = (column + first) % head_dim();
      const std::int64_t columns =
          std::min(tile.columns - first, head_dim() - in_head);
      StoreInChunk(sequence, key + row, column + first,
                   Columns(Rows(tile, row, rows), first, columns));
      first += columns;
    }
    row += rows;
  }
}

void KeySink::StoreInChunk(const FusedSequence& sequence, std::int64_t key,
                           std::int64_t column, const Tile& tile) const {
  const std::int64_t head = column / head_dim();
  const std::int64_t d = column % head_dim();
  const std::int64_t chunk = key / kChunkKeys;
  const std::int64_t k = key % kChunkKeys;
  const bool pairs = packed_.dtype == DataType::kBFloat16;
  if (part_ == Part::kKeys) {
    const std::int64_t width = PackedKeys::chunk_width(sequence, chunk);
    std::byte* to = packed_.keys_of(sequence, head, chunk);
    if (pairs) {
      StoreTransposedPairs(tile, d,
                           reinterpret_cast<std::uint16_t*>(to) + 2 * k, width);
    } else {
      StoreTransposed(tile, reinterpret_cast<float*>(to) + d * width + k,
                      width);
    }
    return;
  }
  const std::int64_t width = packed_.value_columns();
  std::byte* to = packed_.values_of(sequence, head, chunk);
  if (pairs) {
    StoreRowPairs(tile, k, reinterpret_cast<std::uint16_t*>(to) + 2 * d, width);
  } else {
    StoreTile(tile, Epilogue::kNone,
              reinterpret_cast<float*>(to) + k * width + d, width);
  }
}

void QuerySink::Store(std::int64_t row, std::int64_t column,
                      const Tile& tile) const {
  rows_.Store(row, column, tile);
  if (!packed_.watches_finite()) return;
  Tile rest = tile;
  while ((rest.rows = NonFiniteEnd(rest)) > 0) {
    --rest.rows;
    std::atomic_ref(
        packed_.non_finite_queries[static_cast<std::size_t>(row + rest.rows)])
        .store(1, std::memory_order_relaxed);
  }
}

TileSink::Place QuerySink::Accept(std::int64_t row, std::int64_t column,
                                  std::int64_t rows,
                                  std::int64_t columns) const {
  if (packed_.watches_finite()) return {};
  return rows_.Accept(row, column, rows, columns);
}

}  // namespace attention
