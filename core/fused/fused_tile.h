// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/attention/dropout.h"
#include "core/attention/module_spec.h"
#include "core/attention/request_plan.h"
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

/// What the memory of a tile's computation depends on: the most that any tile
/// of a pass asks for.
struct TileExtent {
  /// Take in tiles of `rows` rows of a sequence.
  void Add(const Sequence& sequence, std::int64_t rows);

  std::int64_t rows = 0;
  std::int64_t kept_blocks = 1;   ///< of scores, where weights are wanted
  std::int64_t mask_columns = 0;  ///< padded keys, where there are masks
  std::int64_t mask_line = 0;     ///< S, likewise
  std::int64_t weights = 0;       ///< see WeightsSink::MemorySize
  bool drops = false;             ///< whether there is dropout
};

/// Memory one thread computes tiles in.
struct TileMemory {
  TileMemory(const PackedKeys& keys, const TileExtent& extent, Carver& carver);

  std::int64_t rows;
  TileMask::Memory mask;
  std::span<float> weights;
  std::span<std::byte> query;      ///< [rows, D]: a copy of a head's queries
  std::span<float> scores;         ///< [kept_blocks, rows, kBlockKeys]
  std::span<std::uint16_t> bf16;   ///< [rows, kBlockKeys], in bfloat16
  std::span<float> dropped;        ///< likewise, with dropout
  std::span<std::int64_t> limits;  ///< [rows]
  std::span<float> block_maxima;   ///< [kept_blocks, rows]
  RunningRows running;             ///< of the blocks so far
  RunningRows block;               ///< of one block
};

/// Computes fused attention of one item, without ever holding a matrix of L x
/// S:
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
  struct Task {
    const AttentionSpec& spec;
    const FusedKernels& kernels;
    const FusedMatrices& matrices;
    std::uint32_t layer;  ///< of a stack
  };

  FusedTileComputer(const Task& task, const FusedItem& item,
                    const TileMemory& memory);

  /// Compute the item. Throws dnnl::error.
  void Compute();

 private:
  // Columns [first, first + width) of the scores of a head.
  struct Block {
    std::int64_t index;
    std::int64_t first;
    std::int64_t width;
    float* scores;  // [rows, kBlockKeys]
  };

  void ComputeHead(std::int64_t head);
  void FillWithoutColumns();
  void LoadQueries(std::int64_t head);
  [[nodiscard]] Block BlockAt(std::int64_t first) const;
  [[nodiscard]] FusedKernels::Block KeysOf(const Block& block,
                                           std::int64_t head) const;
  void ComputeScores(std::int64_t head, const Block& block);
  void ReplaceScores(const Block& block);
  void ComputeSoftmax(const Block& block, const RunningRows& rows);
  const std::byte* DropOut(std::int64_t head, const Block& block);
  void MultiplyValues(std::int64_t head, const Block& block,
                      const RunningRows& rows);
  void StoreContext(std::int64_t head);
  [[nodiscard]] std::byte* ContextRow(std::int64_t head) const;
  void KeepWeights(std::int64_t head);

  const AttentionSpec& spec_;
  const FusedKernels& kernels_;
  const FusedMatrices& matrices_;
  const PackedKeys& keys_;
  const FusedItem& item_;
  const QueryTile& tile_;
  const Sequence& sequence_;
  const RequestPlan& request_;
  const TileMemory& memory_;
  TileMask mask_;
  WeightsSink weights_;
  DropoutMask dropout_;
  FusedKernels::Queries queries_;  // of the head at hand
};

}  // namespace attention
