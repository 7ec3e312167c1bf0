// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/attention/module_spec.h"
#include "core/attention/request_plan.h"
#include "core/fused/fused_tile.h"
#include "core/fused/packed_keys.h"
#include "core/tensor/carver.h"

namespace attention {

/// Take from `left`, which is not empty, the sequences of one pass: from the
/// first on as many as FusedLayout takes `pass_bytes` for, but at least one.
[[nodiscard]] std::span<const Sequence> TakePass(
    const AttentionSpec& spec, const PackedKeys& keys, std::int64_t pass_bytes,
    std::span<const Sequence>& left);

/// Multiplications an item aims at.
struct ItemOperations {
  std::int64_t unmasked = 0;
  std::int64_t masked = 0;  ///< of sequences of which TileMask::ReadsOnce
};

/// What the sizes of a pass depend on.
struct FusedExtent {
  /// Add up sequences.
  FusedExtent(const AttentionSpec& spec, std::span<const Sequence> of_pass);

  std::span<const Sequence> sequences;
  ItemOperations item_operations;
  std::int64_t num_queries = 0;
  std::int64_t watched_queries = 0;  ///< see PackedKeys::non_finite_queries
  std::int64_t num_visible = 0;      ///< keys that are not padding
  std::int64_t padded_keys = 0;
  std::int64_t num_items = 0;
  TileExtent tile;
};

/// The sequences, matrices and items of one pass, in memory taken from a
/// carver.
struct FusedLayout {
  FusedLayout(const AttentionSpec& spec, const PackedKeys& keys,
              const FusedExtent& extent, Carver& carver);

  /// Lay out the sequences that the extent is of.
  void Fill(const AttentionSpec& spec, const FusedExtent& extent);

  std::span<PassSequence> sequences;
  std::span<FusedItem> items;
  FusedMatrices matrices;
};

}  // namespace attention
