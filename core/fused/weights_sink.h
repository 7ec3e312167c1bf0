// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/attention/packed_batch.h"
#include "core/attention/request.h"
#include "core/fused/fused_kernels.h"
#include "core/fused/tile_mask.h"
#include "core/tensor/carver.h"

namespace attention {

/// One row of weights as fused attention has it: block by block, each against
/// its own maximum.
struct BlockedRow {
  const float* weights;       ///< of the first block; the others follow
  std::int64_t block_stride;  ///< from block to block
  const float* maxima;        ///< of the first block
  std::int64_t maxima_stride;
  std::int64_t num_columns;  ///< those behind are hidden
  float maximum;             ///< of the whole row
  float sum;                 ///< of the whole row, against its maximum
};

/// Writes weights where the caller wants them, for each head or averaged over
/// them, straight into a float32 tensor: without another matrix of L x S.
/// Not thread-safe: one per thread. Lifetime: borrows.
class WeightsSink {
 public:
  /// Works in memory taken from `carver`.
  WeightsSink(const PackedBatch& batch, const AttentionOutputs& outputs,
              std::int64_t tile_rows, Carver& carver);

  /// Take row `row` of a tile for one head; of heads that are averaged, in
  /// ascending order.
  void Store(const QueryTile& tile, std::int64_t head, std::int64_t row,
             const BlockedRow& weights);
  /// Fill rows of a head, of a sequence without any column to see.
  void Fill(const QueryTile& tile, std::int64_t head, float value);
  /// All heads of a tile are there: write their average, if that is wanted.
  void Finish(const QueryTile& tile);

 private:
  [[nodiscard]] float* RowMemory(const QueryTile& tile, std::int64_t head,
                                 std::int64_t row);
  [[nodiscard]] std::byte* Target(const QueryTile& tile, std::int64_t head,
                                  std::int64_t row) const;
  void Convert(const QueryTile& tile, std::int64_t head, std::int64_t row);
  void Scale(const Sequence& sequence, const BlockedRow& row, bool accumulate,
             float* to) const;
  struct RowWeight {
    float visible;  // of each column the sequence has
    float hidden;   // of its padding
  };
  void Set(const Sequence& sequence, const RowWeight& weight, bool accumulate,
           float* to) const;

  const PackedBatch& batch_;
  const AttentionOutputs& outputs_;
  const bool in_place_;
  const float masked_weight_;  // of every column of a row that sees none
  std::span<float> memory_;    // [tile_rows, S'], where not in place
};

/// The weight of every column of a row that sees none of them.
[[nodiscard]] float MaskedWeight(const PackedBatch& batch);

}  // namespace attention
