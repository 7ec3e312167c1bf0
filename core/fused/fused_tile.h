// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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

/// Most tiles that an item has.
inline constexpr std::int64_t kMaxTiles = 4;

/// One piece of a pass: some heads of some query rows, which are a tile or,
/// where keys are many, up to kMaxTiles.
struct FusedItem {
  QueryTile rows;
  std::int64_t tile_rows = 0;  ///< of each tile but the last
  std::int64_t first_head = 0;
  std::int64_t num_heads = 0;  ///< all of them when weights are averaged
};

/// What the memory of an item's computation depends on: the most that any item
/// of a pass asks for.
struct TileExtent {
  /// Take in items of `tiles` tiles of `rows` rows of a sequence.
  void Add(const Sequence& sequence, std::int64_t rows, std::int64_t tiles);

  std::int64_t tiles = 1;
  std::int64_t rows = 0;
  std::int64_t kept_blocks = 1;   ///< of scores, where weights are wanted
  std::int64_t mask_columns = 0;  ///< padded keys, where there are masks
  std::int64_t mask_line = 0;     ///< S, likewise
  std::int64_t weights = 0;       ///< see WeightsSink::MemorySize
  bool drops = false;             ///< whether there is dropout
};

/// Memory one thread computes a tile in. What is of one block alone, tiles of
/// an item share: `shared`, unless it is the first.
struct TileMemory {
  TileMemory(const PackedKeys& keys, const TileExtent& extent,
             const TileMemory* shared, Carver& carver);

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

/// Memory one thread computes items in.
struct ItemMemory {
  ItemMemory(const PackedKeys& keys, const TileExtent& extent, Carver& carver);

  std::array<std::optional<TileMemory>, kMaxTiles> tiles;
};

/// Computes fused attention of some heads of one tile, without ever holding a
/// matrix of L x S:
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

  /// \param item is the tile's, of which it is computed block by block.
  FusedTileComputer(const Task& task, const FusedItem& item,
                    const QueryTile& tile, const TileMemory& memory);

  /// What follows is called head by head: a head is begun, its blocks are
  /// computed in ascending order, from column 0 on as far as the tile sees, and
  /// it is ended. Throws dnnl::error.
  void BeginHead(std::int64_t head);
  [[nodiscard]] bool Sees(std::int64_t first) const {
    return first == 0 || first < mask_.end();
  }
  void ComputeBlock(std::int64_t head, std::int64_t first);
  void EndHead(std::int64_t head);
  /// All heads are there.
  void Finish() { weights_.Finish(); }
  /// In place of all that: for a sequence of which no key is visible, and to
  /// which none is appended.
  void FillWithoutColumns();

 private:
  // Columns [first, first + width) of the scores of a head.
  struct Block {
    std::int64_t index;
    std::int64_t first;
    std::int64_t width;
    float* scores;  // [rows, kBlockKeys]
  };

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
  const QueryTile tile_;
  const Sequence& sequence_;
  const RequestPlan& request_;
  const TileMemory& memory_;
  TileMask mask_;
  WeightsSink weights_;
  DropoutMask dropout_;
  FusedKernels::Queries queries_;  // of the head at hand
};

/// Compute an item: its tiles side by side, block by block of keys, so that
/// these come from afar once for all of them. Throws dnnl::error.
void ComputeFusedItem(const FusedTileComputer::Task& task,
                      const FusedItem& item, const ItemMemory& memory);

}  // namespace attention
