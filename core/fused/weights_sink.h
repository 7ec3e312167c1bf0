// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/attention/request_plan.h"
#include "core/fused/fused_kernels.h"
#include "core/fused/tile_mask.h"

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
  /// Elements of memory that tiles of `tile_rows` rows of a request need: none
  /// where weights are not wanted or are written in place.
  [[nodiscard]] static std::int64_t MemorySize(const RequestPlan& request,
                                               std::int64_t tile_rows);

  /// Write weights of a tile, working in MemorySize() elements.
  WeightsSink(const QueryTile& tile, std::span<float> memory);

  /// Take row `row` of the tile for one head; of heads that are averaged, in
  /// ascending order.
  void Store(std::int64_t head, std::int64_t row, const BlockedRow& weights);
  /// Fill the rows of a head, of a sequence without any column to see.
  void Fill(std::int64_t head, float value);
  /// All heads are there: write their average, if that is wanted.
  void Finish();

 private:
  [[nodiscard]] std::byte* Target(std::int64_t head, std::int64_t row) const;
  [[nodiscard]] float* RowMemory(std::int64_t head, std::int64_t row);
  void Convert(std::int64_t head, std::int64_t row);
  void Scale(const BlockedRow& row, bool accumulate, float* to) const;
  struct RowWeight {
    float visible;  // of each column the sequence has
    float hidden;   // of its padding
  };
  void Set(const RowWeight& weight, bool accumulate, float* to) const;

  const QueryTile tile_;
  const Sequence& sequence_;
  const RequestPlan& request_;
  const bool in_place_;
  std::span<float> memory_;  // [tile_rows, S'], where not in place
};

/// The weight of every column of a row that sees none of them.
[[nodiscard]] float MaskedWeight(const RequestPlan& request);

}  // namespace attention
