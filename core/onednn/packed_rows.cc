// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/packed_rows.h"

#include <algorithm>
#include <bit>

#include "core/onednn/tile.h"
#include "core/tensor/round_up.h"

namespace attention {
namespace {

// Score columns are padded to the floats of a 512-bit register, and beyond 256
// of them to a sixteenth of their magnitude: that bounds the number of shapes
// to compile to 16 for each doubling, at the cost of at most 6 % of padding.
std::int64_t PaddedColumns(std::int64_t columns) {
  constexpr std::uint64_t kMinStep = 16;
  const std::uint64_t step = std::max(
      kMinStep, std::bit_floor(static_cast<std::uint64_t>(columns)) / kMinStep);
  return RoundUp(columns, static_cast<std::int64_t>(step));
}

}  // namespace

PackedExtent ExtentOf(const Sequence& sequence) {
  return {TiledRows(sequence.query_length),
          PaddedColumns(sequence.num_columns())};
}

PackedRows::PackedRows(const PackedBatch& batch) {
  std::size_t num_queries = 0;
  std::size_t num_keys = 0;
  for (const Sequence& sequence : batch.sequences) {
    num_queries += static_cast<std::size_t>(sequence.query_length);
    num_keys += static_cast<std::size_t>(sequence.num_visible);
  }
  sequences.reserve(batch.sequences.size());
  query_sources.reserve(num_queries);
  query_targets.reserve(num_queries);
  key_sources.reserve(num_keys);
  key_targets.reserve(num_keys);
  for (const Sequence& sequence : batch.sequences) {
    const PackedExtent extent = ExtentOf(sequence);
    const PackedSequence packed = {.sequence = &sequence,
                                   .query_offset = query_rows,
                                   .key_offset = key_rows,
                                   .padded_columns = extent.key_rows};
    query_rows += extent.query_rows;
    key_rows += extent.key_rows;
    for (std::int64_t i = 0; i < sequence.query_length; ++i) {
      query_sources.push_back(sequence.query_row(i));
      query_targets.push_back(packed.query_offset + i);
    }
    for (std::int64_t k = 0; k < sequence.num_visible; ++k) {
      key_sources.push_back(sequence.key_row(sequence.visible_key(k)));
      key_targets.push_back(packed.key_offset + k);
    }
    sequences.push_back(packed);
  }
}

}  // namespace attention
