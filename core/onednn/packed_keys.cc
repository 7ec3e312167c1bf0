// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/packed_keys.h"

#include <array>
#include <atomic>
#include <cmath>

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

bool HasNonFinite(const Tile& tile) {
  // From here on, rounding to bfloat16 yields infinity.
  constexpr float kTooLarge = 0x1.ffp127F;
  std::uint32_t found = 0;
  for (std::int64_t i = 0; i < tile.rows; ++i) {
    const float* row = tile.values + i * tile.stride;
    for (std::int64_t j = 0; j < tile.columns; ++j) {
      const float value = row[j] + (tile.bias == nullptr ? 0.0F : tile.bias[j]);
      found |= std::fabs(value) < kTooLarge ? 0U : 1U;
    }
  }
  return found != 0;
}

}  // namespace

FusedSequence* SequenceOf(std::span<FusedSequence> sequences, std::int64_t row,
                          std::int64_t FusedSequence::* first) {
  return &*(std::ranges::upper_bound(sequences, row, {}, first) - 1);
}

void WatchFinite(const Tile& tile, FusedSequence& sequence) {
  if (!HasNonFinite(tile)) return;
  std::atomic_ref(sequence.has_non_finite)
      .store(true, std::memory_order_relaxed);
}

void KeySink::Store(std::int64_t row, std::int64_t column,
                    const Tile& tile) const {
  FusedSequence* sequence =
      SequenceOf(packed_.sequences, row, &FusedSequence::first_key);
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
  if (packed_.watches_finite) WatchFinite(tile, sequence);
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
  if (!packed_.watches_finite) return;
  FusedSequence* sequence =
      SequenceOf(packed_.sequences, row, &FusedSequence::first_query);
  for (std::int64_t first = 0; first < tile.rows; ++sequence) {
    const std::int64_t end =
        sequence->first_query + sequence->sequence->query_length;
    const std::int64_t count = std::min(end - row, tile.rows) - first;
    if (count <= 0) continue;
    WatchFinite(Rows(tile, first, count), *sequence);
    first += count;
  }
}

}  // namespace attention
