// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/attention/dropout.h"
#include "core/attention/module_spec.h"
#include "core/attention/packed_batch.h"
#include "core/attention/request.h"
#include "core/fused/fused_kernels.h"
#include "core/fused/packed_keys.h"
#include "core/fused/tile_mask.h"
#include "core/fused/weights_sink.h"
#include "core/simd/softmax.h"
#include "core/tensor/carver.h"

namespace attention {

/// The matrices of a pass, in its compute dtype: keys and values, and by rows
/// query [rows, H D] and context [rows, H Dv], which may lie over query if
/// D = Dv.
struct FusedMatrices {
  PackedKeys keys;
  std::byte* query = nullptr;
  std::byte* context = nullptr;
};

/// One piece of a pass: some heads of a tile of query rows.
struct FusedItem {
  QueryTile tile;
  std::int64_t first_head = 0;
  std::int64_t num_heads = 0;  ///< all of them when weights are averaged
};

/// Computes fused attention, tile by tile, without ever holding a matrix of
/// L x S, in memory of its own thread:
///
///   context_h = dropout(softmax(scale Q_h K_g^T + M)) V_g,  g = h / (H / Hkv)
///
/// and writes the weights where they are wanted. A row's bits depend on its
/// sequence alone: keys are taken in blocks of kBlockKeys from the first on,
/// each with the softmax against its own maximum, and merged in that order.
/// Sources: Milakov and Gimelshein 2018, "Online normalizer calculation for
/// softmax"; Dao 2023, "FlashAttention-2".
/// Not thread-safe. Lifetime: borrows everything.
class FusedTileComputer {
 public:
  /// What the memory's size depends on.
  struct Extent {
    std::int64_t tile_rows = 0;    ///< highest tile
    std::int64_t max_columns = 0;  ///< most padded keys of a sequence
  };
  struct Task {
    const AttentionSpec& spec;
    const FusedKernels& kernels;
    const PackedBatch& batch;
    const AttentionOutputs& outputs;
    const FusedMatrices& matrices;
  };

  /// Work in memory taken from `carver`.
  FusedTileComputer(const Task& task, const Extent& extent, Carver& carver);

  /// Compute an item. Throws dnnl::error.
  void Compute(const FusedItem& item);

 private:
  // Columns [first, first + width) of the scores of a head.
  struct Block {
    std::int64_t index;
    std::int64_t first;
    std::int64_t width;
    float* scores;  // [tile_rows, kBlockKeys]
  };

  void ComputeHead(const QueryTile& tile, std::int64_t head);
  void FillWithoutColumns(const FusedItem& item);
  void LoadQueries(const QueryTile& tile, std::int64_t head);
  [[nodiscard]] Block BlockAt(const QueryTile& tile, std::int64_t first) const;
  void ComputeScores(const QueryTile& tile, std::int64_t head,
                     const Block& block);
  void ReplaceScores(const QueryTile& tile, const Block& block);
  void ComputeSoftmax(const QueryTile& tile, const Block& block,
                      const RunningRows& rows);
  const std::byte* DropOut(const QueryTile& tile, std::int64_t head,
                           const Block& block);
  void MultiplyValues(const QueryTile& tile, std::int64_t head,
                      const Block& block, const RunningRows& rows);
  void StoreContext(const QueryTile& tile, std::int64_t head);
  [[nodiscard]] std::byte* ContextRow(const QueryTile& tile,
                                      std::int64_t head) const;

  void KeepWeights(const QueryTile& tile, std::int64_t head);

  [[nodiscard]] std::int64_t key_head(std::int64_t head) const {
    return head / (spec_.num_heads / spec_.num_key_value_heads);
  }

  const AttentionSpec& spec_;
  const FusedKernels& kernels_;
  const PackedBatch& batch_;
  const FusedMatrices& matrices_;
  const PackedKeys& keys_;
  const Extent extent_;
  TileMask mask_;
  WeightsSink weights_;
  DropoutMask dropout_;

  FusedKernels::Queries queries_;   // of the tile and head at hand
  std::span<std::byte> query_;      // [tile_rows, D]: a copy of them
  std::span<float> scores_;         // [blocks kept or 1, tile_rows, kBlockKeys]
  std::span<std::uint16_t> bf16_;   // [tile_rows, kBlockKeys]
  std::span<float> dropped_;        // likewise
  std::span<std::int64_t> limits_;  // [tile_rows]
  std::span<float> block_maxima_;   // [blocks kept or 1, tile_rows]
  RunningRows running_;             // of the blocks so far
  RunningRows block_;               // of one block
};

}  // namespace attention
