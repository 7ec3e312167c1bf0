// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/attention/masks.h"
#include "core/attention/packed_batch.h"
#include "core/fused/packed_keys.h"
#include "core/tensor/carver.h"

namespace attention {

/// Query rows of one sequence that are computed together.
struct QueryTile {
  const FusedSequence* place = nullptr;
  std::int64_t first_row = 0;
  std::int64_t num_rows = 0;

  friend bool operator==(const QueryTile&, const QueryTile&) = default;
};

/// All masks of a request, for one head of a tile of query rows: how many
/// columns each row sees of the front, and what is added to their scores.
///
/// Causality and row lengths hide a row's end. Its columns there are absent:
/// whole chunks of them are not computed. By torch's formula a NaN or infinity
/// there poisons the row, 0 * NaN; so a row goes on to the last column that is
/// not finite, or to the end if its query is not, and -inf is added to what is
/// hidden, as it is where appended columns stay visible behind hidden ones. Not
/// thread-safe: one per thread. Lifetime: borrows the batch.
class TileMask {
 public:
  /// Works in memory taken from `carver`.
  TileMask(const PackedBatch& batch, std::int64_t tile_rows,
           std::int64_t max_columns, Carver& carver);

  /// Whether a batch hides the ends of rows.
  [[nodiscard]] static bool HidesEnds(const PackedBatch& batch);

  /// Read the masks of a head of a tile.
  void Read(const QueryTile& tile, std::int64_t head);

  /// Columns that rows of the tile see at most.
  [[nodiscard]] std::int64_t end() const { return end_; }
  /// Write how many of the columns from `first` on each row sees, at most
  /// `width`, to `limits` [num_rows].
  void Limits(std::int64_t first, std::int64_t width,
              std::span<std::int64_t> limits) const;
  /// What is added to the scores of the tile's first row from column `first`
  /// on; nullptr: nothing. Rows are mask_stride() apart.
  [[nodiscard]] const float* mask(std::int64_t first) const {
    return mask_ == nullptr ? nullptr : mask_ + first;
  }
  [[nodiscard]] std::int64_t mask_stride() const { return mask_stride_; }

 private:
  [[nodiscard]] bool AddsMask() const;
  [[nodiscard]] const float* MaskInPlace(std::int64_t head) const;
  void ReadEnds();
  [[nodiscard]] std::int64_t CutEnd(std::int64_t row);
  void ReadMask(std::int64_t head);

  const PackedBatch& batch_;
  std::span<float> line_;
  MaskReader<float> reader_;
  std::span<std::int64_t> ends_;  // [tile_rows]
  std::span<float> memory_;       // [tile_rows, max_columns]
  QueryTile tile_;
  std::int64_t end_ = 0;
  bool hides_within_ = false;  // whether columns before a row's end are hidden
  const float* mask_ = nullptr;
  std::int64_t mask_stride_ = 0;
  bool serves_all_heads_ = false;  // what has been read
};

}  // namespace attention
