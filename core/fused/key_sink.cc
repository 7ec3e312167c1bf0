// SPDX-License-Identifier: Apache-2.0
#include "core/fused/key_sink.h"

#include <array>
#include <atomic>

namespace attention {
namespace {

constexpr std::array<float, kPageKeys> kZeros = {};

// `rows` rows of zeros, `columns` wide.
Patch Zeros(std::int64_t rows, std::int64_t columns, const float* bias) {
  return {.values = kZeros.data(),
          .stride = 0,
          .rows = rows,
          .columns = columns,
          .bias = bias};
}

// A part of a patch, which is at most kPageKeys wide.
Patch TakeRows(const Patch& patch, std::int64_t first, std::int64_t count) {
  Patch part = patch;
  part.values += first * patch.stride;
  part.rows = count;
  return part;
}

Patch TakeColumns(const Patch& patch, std::int64_t first, std::int64_t count) {
  Patch part = patch;
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

}  // namespace

void KeySink::Store(std::int64_t row, std::int64_t column,
                    const Patch& patch) const {
  PassSequence* sequence =
      PlaceOf(packed_.sequences, &PassSequence::first_key, row);
  for (std::int64_t first = 0; first < patch.rows; ++sequence) {
    const std::int64_t key = row + first - sequence->first_key;
    const std::int64_t num_keys = sequence->sequence->num_visible;
    const std::int64_t count = std::min(num_keys - key, patch.rows - first);
    if (count <= 0) continue;
    StoreKeys(*sequence, key, column, TakeRows(patch, first, count));
    if (key + count == num_keys) StoreEnd(*sequence, column, patch.columns);
    first += count;
  }
}

// Values of one head that lie in one page, as float32 takes them.
PatchSink::Place KeySink::Accept(std::int64_t row, std::int64_t column,
                                 std::int64_t rows,
                                 std::int64_t columns) const {
  if (part_ == Part::kKeys || packed_.dtype != DataType::kFloat32 ||
      packed_.watches_finite() || column % head_dim() + columns > head_dim()) {
    return {};
  }
  PassSequence& sequence =
      *PlaceOf(packed_.sequences, &PassSequence::first_key, row);
  const std::int64_t key = row - sequence.first_key;
  const std::int64_t left = sequence.sequence->num_visible - key;
  if (rows > std::min(left, kPageKeys - key % kPageKeys)) return {};
  if (rows == left) StoreEnd(sequence, column, columns);
  const std::int64_t width = packed_.value_columns();
  std::byte* values =
      packed_.values_of(sequence, column / head_dim(), key / kPageKeys);
  return {reinterpret_cast<float*>(values) + key % kPageKeys * width +
              column % head_dim(),
          width};
}

void KeySink::StoreEnd(PassSequence& sequence, std::int64_t column,
                       std::int64_t columns) const {
  const std::int64_t end = sequence.sequence->num_visible;
  const std::int64_t num_columns = sequence.sequence->num_columns();
  for (std::int64_t key = end; key < num_columns; ++key) {
    const bool is_bias = key == end && !appended_.empty();
    StoreKeys(sequence, key, column,
              Zeros(1, columns, is_bias ? appended_.data() + column : nullptr));
  }
  if (part_ == Part::kValues && packed_.dtype == DataType::kBFloat16 &&
      sequence.padded_keys > num_columns) {
    StoreKeys(sequence, num_columns, column,
              Zeros(sequence.padded_keys - num_columns, columns, nullptr));
  }
}

// Store rows of a sequence, page by page and head by head.
void KeySink::StoreKeys(PassSequence& sequence, std::int64_t key,
                        std::int64_t column, const Patch& patch) const {
  if (packed_.watches_finite()) {
    if (const std::int64_t end = NonFiniteEnd(patch); end > 0) {
      RaiseTo(key + end, sequence.non_finite_end);
    }
  }
  for (std::int64_t row = 0; row < patch.rows;) {
    const std::int64_t rows =
        std::min(patch.rows - row, kPageKeys - (key + row) % kPageKeys);
    for (std::int64_t first = 0; first < patch.columns;) {
      const std::int64_t in_head = (column + first) % head_dim();
      const std::int64_t columns =
          std::min(patch.columns - first, head_dim() - in_head);
      StoreInPage(sequence, key + row, column + first,
                  TakeColumns(TakeRows(patch, row, rows), first, columns));
      first += columns;
    }
    row += rows;
  }
}

void KeySink::StoreInPage(const PassSequence& sequence, std::int64_t key,
                          std::int64_t column, const Patch& patch) const {
  const std::int64_t head = column / head_dim();
  const std::int64_t d = column % head_dim();
  const std::int64_t page = key / kPageKeys;
  const std::int64_t k = key % kPageKeys;
  const bool pairs = packed_.dtype == DataType::kBFloat16;
  if (part_ == Part::kKeys) {
    const std::int64_t stride = packed_.key_stride(sequence, page);
    std::byte* to = packed_.keys_of(sequence, head, page);
    if (pairs) {
      return StoreTransposedPairs(
          patch, d, reinterpret_cast<std::uint16_t*>(to) + 2 * k, stride);
    }
    float* floats = reinterpret_cast<float*>(to) + d * stride + k;
    if (stride == 1) {
      return StorePatch(patch, Epilogue::kNone, floats, patch.columns);
    }
    return StoreTransposed(patch, floats, stride);
  }
  const std::int64_t width = packed_.value_columns();
  std::byte* to = packed_.values_of(sequence, head, page);
  if (pairs) {
    StoreRowPairs(patch, k, reinterpret_cast<std::uint16_t*>(to) + 2 * d,
                  width);
  } else {
    StorePatch(patch, Epilogue::kNone,
               reinterpret_cast<float*>(to) + k * width + d, width);
  }
}

void QuerySink::Store(std::int64_t row, std::int64_t column,
                      const Patch& patch) const {
  rows_.Store(row, column, patch);
  if (!packed_.watches_finite()) return;
  Patch rest = patch;
  while ((rest.rows = NonFiniteEnd(rest)) > 0) {
    --rest.rows;
    std::atomic_ref(
        packed_.non_finite_queries[static_cast<std::size_t>(row + rest.rows)])
        .store(1, std::memory_order_relaxed);
  }
}

PatchSink::Place QuerySink::Accept(std::int64_t row, std::int64_t column,
                                   std::int64_t rows,
                                   std::int64_t columns) const {
  if (packed_.watches_finite()) return {};
  return rows_.Accept(row, column, rows, columns);
}

}  // namespace attention
