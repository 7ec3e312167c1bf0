// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/attention/module_spec.h"
#include "core/attention/request_plan.h"
#include "core/onednn/row_tiles.h"

namespace attention {

/// One piece of a pass: some heads of a tile of query rows of one sequence.
///
///   context_h = dropout(softmax(scale Q_h K_g^T + M)) V_g,  g = h / (H / Hkv)
///
/// The matrices are float32 and dense, as wide as AttentionSpec says. Lifetime:
/// borrows everything.
struct AttentionTile {
  const AttentionSpec& spec;
  const Sequence& sequence;
  std::uint32_t layer = 0;
  RowTile rows;
  std::int64_t part = 0;         ///< of NumParts
  const float* query = nullptr;  ///< from the tile's first row on
  const float* key = nullptr;    ///< the sequence's PaddedColumns rows, zeros
  const float* value = nullptr;  ///< behind its columns
  float* context = nullptr;      ///< as query, which it may overwrite
};

/// Score columns of a sequence as they are computed, at least 1.
[[nodiscard]] std::int64_t PaddedColumns(const Sequence& sequence);

/// Into how many parts the heads of a tile are cut: 1 if their averaged weights
/// are wanted, else each of as many heads as are computed together.
[[nodiscard]] std::int64_t NumParts(const AttentionSpec& spec,
                                    const Sequence& sequence);

/// What ComputeTile works in, in bytes.
[[nodiscard]] std::size_t TileScratchBytes(const AttentionTile& tile);

/// Compute a tile's context, and its weights where they are wanted. Throws
/// dnnl::error, std::bad_alloc.
void ComputeTile(const AttentionTile& tile, std::byte* scratch);

}  // namespace attention
