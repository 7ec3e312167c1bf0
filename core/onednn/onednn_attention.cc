// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/onednn_attention.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "core/onednn/attention_tile.h"
#include "core/onednn/catch_dnnl.h"
#include "core/onednn/compute_thread.h"
#include "core/onednn/packed_rows.h"
#include "core/onednn/projection.h"
#include "core/onednn/tile.h"
#include "core/tensor/convert.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Bound on the small objects a thread makes in a pass.
constexpr std::size_t kThreadBytes = 16384;

class OneDnnAttention final : public MultiHeadAttention {
 public:
  // Throws dnnl::error, std::bad_alloc.
  OneDnnAttention(const MultiHeadAttentionConfig& config,
                  const AttentionWeights& weights)
      : config_(config),
        query_(weights.query),
        key_(weights.key),
        value_(weights.value),
        output_(weights.output),
        bias_k_(ToFloats(weights.bias_k)),
        bias_v_(ToFloats(weights.bias_v)) {}

  std::string_view implementation() const override { return "onednn-matmul"; }
  DataType compute_dtype() const override { return DataType::kFloat32; }
  std::size_t memory_bytes() const override {
    return query_.memory_bytes() + key_.memory_bytes() + value_.memory_bytes() +
           output_.memory_bytes();
  }
  std::size_t ScratchBytes(const PackedBatch& batch,
                           std::size_t num_threads) const override;
  absl::Status Forward(const PackedBatch& batch,
                       const AttentionOutputs& outputs,
                       ComputePool& pool) const override;

 private:
  class Pass;

  MultiHeadAttentionConfig config_;
  Projection query_, key_, value_, output_;
  std::vector<float> bias_k_, bias_v_;  // [E], or empty
};

// One forward pass.
class OneDnnAttention::Pass {
 public:
  Pass(const OneDnnAttention& module, const PackedBatch& batch,
       const AttentionOutputs& outputs, ComputePool& pool)
      : module_(module),
        batch_(batch),
        outputs_(outputs),
        pool_(pool),
        rows_(batch) {}

  // Throws dnnl::error, std::bad_alloc.
  absl::Status Compute() {
    const ComputeThreadScope scope;
    AllocateMatrices();
    ATTENTION_RETURN_IF_ERROR(ProjectInputs());
    ATTENTION_RETURN_IF_ERROR(Attend());
    return ProjectOutput();
  }

 private:
  std::int64_t embed_dim() const { return module_.config_.embed_dim; }

  MutableTensorView Matrix(float* data, std::int64_t num_rows) const {
    return {reinterpret_cast<std::byte*>(data), DataType::kFloat32,
            Shape{num_rows, embed_dim()}};
  }

  void AllocateMatrices() {
    const auto query_floats =
        static_cast<std::size_t>(rows_.query_rows * embed_dim());
    const auto key_floats =
        static_cast<std::size_t>(rows_.key_rows * embed_dim());
    auto* memory = reinterpret_cast<float*>(pool_.Scratch(
        pool_.num_threads(), (query_floats + 2 * key_floats) * sizeof(float)));
    matrices_ = {memory, memory + query_floats,
                 memory + query_floats + key_floats};
    for (const PackedSequence& packed : rows_.sequences) FillEnds(packed);
  }

  // Zero the padding of a sequence's rows and append bias_k and bias_v. (The
  // row of zeros of add_zero_attn lies before the padding.)
  void FillEnds(const PackedSequence& packed) {
    const Sequence& sequence = *packed.sequence;
    const std::int64_t width = embed_dim();
    const std::int64_t query_end = packed.query_offset + sequence.query_length;
    const std::int64_t query_padding =
        TiledRows(sequence.query_length) - sequence.query_length;
    std::fill_n(matrices_.query + query_end * width, query_padding * width,
                0.0F);
    const std::int64_t visible = sequence.num_visible;
    const std::int64_t end = (packed.key_offset + visible) * width;
    const std::int64_t padding = (packed.padded_columns - visible) * width;
    std::fill_n(matrices_.key + end, padding, 0.0F);
    std::fill_n(matrices_.value + end, padding, 0.0F);
    std::ranges::copy(module_.bias_k_, matrices_.key + end);
    std::ranges::copy(module_.bias_v_, matrices_.value + end);
  }

  // Call `work(item, scratch)` for every item on the pool, each thread with
  // scratch_bytes of its own.
  template <typename Work>
  absl::Status ForEach(std::int64_t num_items, std::size_t scratch_bytes,
                       const Work& work) {
    std::mutex mutex;
    absl::Status status;
    pool_.Run(num_items, [&](std::int64_t item, std::size_t thread) {
      const ComputeThreadScope scope;
      const absl::Status result =
          pool_.StopRequested()
              ? absl::CancelledError("stopped")
              : CatchDnnl([&] {
                  work(item, thread, pool_.Scratch(thread, scratch_bytes));
                });
      if (result.ok()) return;
      const std::lock_guard lock(mutex);
      status.Update(result);
    });
    return status;
  }

  absl::Status ProjectInputs() {
    struct Work {
      const Projection& projection;
      ProjectionRows rows;
    };
    const Work works[] = {
        {module_.query_,
         {batch_.query, rows_.query_sources,
          Matrix(matrices_.query, rows_.query_rows), rows_.query_targets}},
        {module_.key_,
         {batch_.key, rows_.key_sources, Matrix(matrices_.key, rows_.key_rows),
          rows_.key_targets}},
        {module_.value_,
         {batch_.value, rows_.key_sources,
          Matrix(matrices_.value, rows_.key_rows), rows_.key_targets}}};
    std::int64_t num_items = 0;
    std::size_t scratch_bytes = 0;
    for (const Work& work : works) {
      num_items += work.projection.num_items(work.rows);
      scratch_bytes = std::max(scratch_bytes, work.projection.scratch_bytes());
    }
    return ForEach(num_items, scratch_bytes,
                   [&](std::int64_t item, std::size_t, std::byte* scratch) {
                     for (const Work& work : works) {
                       const std::int64_t count =
                           work.projection.num_items(work.rows);
                       if (item < count) {
                         work.projection.Compute(work.rows, item, scratch);
                         return;
                       }
                       item -= count;
                     }
                   });
  }

  absl::Status ProjectOutput() {
    const ProjectionRows rows = {Matrix(matrices_.query, rows_.query_rows),
                                 rows_.query_targets, outputs_.output,
                                 rows_.query_sources};
    return ForEach(module_.output_.num_items(rows),
                   module_.output_.scratch_bytes(),
                   [&](std::int64_t item, std::size_t, std::byte* scratch) {
                     module_.output_.Compute(rows, item, scratch);
                   });
  }

  absl::Status Attend() {
    std::int64_t num_tiles = 0;
    std::size_t scratch_bytes = 0;
    for (const Sequence& sequence : batch_.sequences) {
      num_tiles += NumTiles(batch_, sequence);
      scratch_bytes =
          std::max(scratch_bytes, TileScratchBytes(batch_, sequence));
    }
    std::vector<AttentionTile> tiles;
    tiles.reserve(static_cast<std::size_t>(num_tiles));
    for (const PackedSequence& packed : rows_.sequences) {
      AddTiles(batch_, packed, tiles);
    }
    std::vector<std::unique_ptr<AttentionTileComputer>> computers(
        pool_.num_threads());
    return ForEach(
        num_tiles, scratch_bytes,
        [&](std::int64_t item, std::size_t thread, std::byte* scratch) {
          std::unique_ptr<AttentionTileComputer>& computer = computers[thread];
          if (computer == nullptr) {
            computer = std::make_unique<AttentionTileComputer>(
                batch_, outputs_, matrices_, embed_dim());
          }
          computer->Compute(tiles[static_cast<std::size_t>(item)], scratch);
        });
  }

  const OneDnnAttention& module_;
  const PackedBatch& batch_;
  const AttentionOutputs& outputs_;
  ComputePool& pool_;
  const PackedRows rows_;
  PackedMatrices matrices_;
};

std::size_t OneDnnAttention::ScratchBytes(const PackedBatch& batch,
                                          std::size_t num_threads) const {
  std::int64_t num_rows = 0;  // of the packed matrices
  std::int64_t num_row_entries = 0;
  std::int64_t num_tiles = 0;
  std::size_t tile_bytes = 0;
  std::size_t object_bytes = 0;
  for (const Sequence& sequence : batch.sequences) {
    const PackedExtent extent = ExtentOf(sequence);
    num_rows += extent.query_rows + 2 * extent.key_rows;
    num_row_entries += 2 * (sequence.query_length + sequence.num_visible);
    num_tiles += NumTiles(batch, sequence);
    tile_bytes = std::max(tile_bytes, TileScratchBytes(batch, sequence));
    object_bytes = std::max(object_bytes, TileObjectBytes(batch, sequence));
  }
  const std::size_t projection_bytes =
      std::max({query_.scratch_bytes(), key_.scratch_bytes(),
                value_.scratch_bytes(), output_.scratch_bytes()});
  const std::size_t busy_threads =
      std::min(num_threads, static_cast<std::size_t>(num_tiles));
  return static_cast<std::size_t>(num_rows * config_.embed_dim) *
             sizeof(float) +
         static_cast<std::size_t>(num_row_entries) * sizeof(std::int64_t) +
         static_cast<std::size_t>(num_tiles) * sizeof(AttentionTile) +
         batch.sequences.size() * sizeof(PackedSequence) +
         busy_threads * (tile_bytes + object_bytes) +
         num_threads * (projection_bytes + kThreadBytes);
}

absl::Status OneDnnAttention::Forward(const PackedBatch& batch,
                                      const AttentionOutputs& outputs,
                                      ComputePool& pool) const {
  absl::Status status;
  const absl::Status thrown = CatchDnnl([&] {
    if (outputs.weights) {
      // Rows behind a ragged sequence's end are zeros.
      std::fill_n(outputs.weights->data, outputs.weights->num_bytes(),
                  std::byte{0});
    }
    status = Pass(*this, batch, outputs, pool).Compute();
  });
  pool.TrimScratch();
  status.Update(thrown);
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MultiHeadAttention>> MakeOneDnnAttention(
    const MultiHeadAttentionConfig& config, const AttentionWeights& weights) {
  if (weights.dtype == DataType::kFloat64) {
    return absl::InvalidArgumentError(
        "weights: expected float32, bfloat16 or float16, got float64");
  }
  std::unique_ptr<MultiHeadAttention> attention;
  ATTENTION_RETURN_IF_ERROR(CatchDnnl([&] {
    const ComputeThreadScope scope;
    attention = std::make_unique<OneDnnAttention>(config, weights);
  }));
  return attention;
}

}  // namespace attention
