// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/packed_rows.h"

#include "core/onednn/round_up.h"
#include "core/onednn/tile.h"

namespace attention {
namespace {

// Score columns are padded to the floats of a 512-bit register, which also
// bounds the number of shapes to compile.
constexpr std::int64_t kColumnStep = 16;

}  // namespace

PackedExtent ExtentOf(const Sequence& sequence) {
  return {TiledRows(sequence.query_length),
          RoundUp(sequence.num_columns(), kColumnStep)};
}

PackedRows::PackedRows(const PackedBatch& batch) {
  sequences.reserve(batch.sequences.size());
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
    std::int64_t target = packed.key_offset;
    for (const std::int64_t j : sequence.visible_keys) {
      key_sources.push_back(sequence.key_row(j));
      key_targets.push_back(target++);
    }
    sequences.push_back(packed);
  }
}

}  // namespace attention
