// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/attention/dropout.h"
#include "core/attention/masks.h"
#include "core/attention/module_spec.h"
#include "core/attention/packed_batch.h"
#include "core/attention/request.h"
#include "core/onednn/attention_kernels.h"
#include "core/onednn/packed_rows.h"

namespace attention {

/// The packed matrices, float32: query [rows, H D], key [rows, Hkv D], value
/// [rows, Hkv Dv] and context [rows, H Dv], which may lie over query if D = Dv.
struct PackedMatrices {
  float* query = nullptr;
  float* key = nullptr;
  float* value = nullptr;
  float* context = nullptr;
};

/// One piece of a pass: some heads of one tile of query rows of one sequence.
struct AttentionTile {
  const PackedSequence* packed = nullptr;
  std::int64_t first_row = 0;  ///< of the sequence's query rows
  std::int64_t num_rows = 0;
  std::int64_t first_head = 0;
  std::int64_t num_heads = 0;  ///< all of them when weights are averaged
};

/// Append the tiles of a sequence.
void AddTiles(const AttentionSpec& spec, const PackedBatch& batch,
              const PackedSequence& packed, std::vector<AttentionTile>& tiles);
/// How many AddTiles appends.
[[nodiscard]] std::int64_t NumTiles(const AttentionSpec& spec,
                                    const PackedBatch& batch,
                                    const Sequence& sequence);

/// Scratch an AttentionTileComputer works in for the tiles of a sequence, and a
/// bound on the memory it takes beside that in any pass, in bytes.
[[nodiscard]] std::size_t TileScratchBytes(const PackedBatch& batch,
                                           const Sequence& sequence);
[[nodiscard]] std::size_t TileObjectBytes(const PackedBatch& batch);

/// Computes attention tiles:
///
///   context_h = dropout(softmax(scale Q_h K_g^T + M)) V_g,  g = h / (H / Hkv)
///
/// and writes the weights where they are wanted. Not thread-safe: one per
/// thread. Lifetime: borrows everything.
class AttentionTileComputer {
 public:
  AttentionTileComputer(const AttentionSpec& spec, const PackedBatch& batch,
                        const AttentionOutputs& outputs,
                        const PackedMatrices& matrices);

  /// Compute a tile in `scratch`, TileScratchBytes long.
  /// Throws dnnl::error, std::bad_alloc.
  void Compute(const AttentionTile& tile, std::byte* scratch);

 private:
  // One group of heads of a tile, while it is computed.
  struct Group {
    const AttentionTile& tile;
    std::int64_t first_head;
    std::int64_t num_heads;
    std::int64_t height;
    float* scores;   // [num_heads, height, padded_columns]
    float* mask;     // [num_columns]
    float* average;  // [height, weight_columns]
  };

  void ComputeGroup(const Group& group, std::byte* scratchpad);
  void UseKernels(const Group& group);
  void MaskRow(const Group& group, std::int64_t head, std::int64_t row);
  void FinishRow(const Group& group, std::int64_t head, std::int64_t row);
  void KeepWeights(const Group& group, std::int64_t head, std::int64_t row);
  void FillWithoutColumns(const AttentionTile& tile);
  void StoreWeights(const Sequence& sequence, std::int64_t head,
                    std::int64_t row, const float* weights);

  // The scores of one row of one head of a group.
  static float* ScoresRow(const Group& group, std::int64_t head,
                          std::int64_t row);

  const AttentionSpec& spec_;
  const PackedBatch& batch_;
  const AttentionOutputs& outputs_;
  const PackedMatrices matrices_;
  AttentionShape shape_;  // of kernels_
  std::shared_ptr<const AttentionKernels> kernels_;
  const float masked_weight_;  // of every column of a row that sees none
  std::vector<float> mask_line_;
  MaskReader<float> masks_;
  DropoutMask dropout_;
  std::vector<float> line_;        // one row of returned weights
  std::vector<bool> masked_rows_;  // [num_heads, height] of a group
};

}  // namespace attention
