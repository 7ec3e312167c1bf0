// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/attention/masks.h"
#include "core/attention/request_plan.h"
#include "core/fused/pass_sequence.h"

namespace attention {

/// Query rows of one sequence that are computed together.
struct QueryTile {
  const PassSequence* place = nullptr;
  std::int64_t first_row = 0;
  std::int64_t num_rows = 0;

  friend bool operator==(const QueryTile&, const QueryTile&) = default;
};

/// All masks of a sequence's request, for one head of a tile of query rows: how
/// many columns each row sees of the front, and what is added to their scores.
///
/// Causality and row lengths hide a row's end. Its columns there are absent:
/// whole pages of them are not computed. By torch's formula a NaN or infinity
/// there poisons the row, 0 * NaN; so a row goes on to the last column that is
/// not finite, or to the end if its query is not, and -inf is added to what is
/// hidden, as it is where appended columns stay visible behind hidden ones. Not
/// thread-safe: one per thread.
class TileMask {
 public:
  /// What it works in.
  struct Memory {
    std::span<float> line;         ///< [S], of the requests that need it
    std::span<std::int64_t> ends;  ///< [tile_rows]
    std::span<float> mask;         ///< [tile_rows, padded keys], likewise
  };
  explicit TileMask(const Memory& memory)
      : reader_(memory.line), ends_(memory.ends), memory_(memory.mask) {}

  /// Whether a request needs the line and the mask of Memory: a tile of it may
  /// have to be put together.
  [[nodiscard]] static bool NeedsMemory(const RequestPlan& request);
  /// Whether a tile's masks have to be put together and are the same for all
  /// heads, so that an item of several heads does it once.
  [[nodiscard]] static bool ReadsOnce(const Sequence& sequence);
  /// Whether a request hides the ends of rows.
  [[nodiscard]] static bool HidesEnds(const RequestPlan& request);

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
  [[nodiscard]] bool AddsMask(const RequestPlan& request) const;
  // Whether a request's own memory has just what is to be added.
  [[nodiscard]] static bool IsInPlace(const Sequence& sequence);
  void ReadEnds();
  [[nodiscard]] std::int64_t CutEnd(std::int64_t row);
  void ReadMask(std::int64_t head);

  MaskReader<float> reader_;
  std::span<std::int64_t> ends_;
  std::span<float> memory_;
  QueryTile tile_;
  std::int64_t end_ = 0;
  bool hides_within_ = false;  // whether columns before a row's end are hidden
  const float* mask_ = nullptr;
  std::int64_t mask_stride_ = 0;
  bool serves_all_heads_ = false;  // what has been read
};

}  // namespace attention
