// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/onednn_attention.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "core/onednn/attention_kernels.h"
#include "core/onednn/attention_tile.h"
#include "core/onednn/catch_dnnl.h"
#include "core/onednn/compute_thread.h"
#include "core/onednn/packed_rows.h"
#include "core/onednn/projection.h"
#include "core/onednn/round_up.h"
#include "core/onednn/tile.h"
#include "core/tensor/convert.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Scores computed together, in bytes: as many heads as fit beside their keys
// and values in a core's L2 cache.
constexpr std::int64_t kScoresBytes = std::int64_t{256} << 10U;

std::vector<float> ToFloats(const std::optional<Tensor>& tensor) {
  if (!tensor) return {};
  std::vector<float> floats(
      static_cast<std::size_t>(tensor->shape().num_elements()));
  LoadReals(tensor->dtype(), tensor->view().data, floats.size(), floats.data());
  return floats;
}

// Largest divisor of num_heads whose scores fit kScoresBytes, at least 1. A
// function of the sequence alone, as bits may depend on it.
std::int64_t GroupHeads(std::int64_t num_heads, std::int64_t height,
                        std::int64_t columns) {
  const std::int64_t bytes_per_head =
      height * columns * static_cast<std::int64_t>(sizeof(float));
  std::int64_t group =
      std::clamp<std::int64_t>(kScoresBytes / bytes_per_head, 1, num_heads);
  while (num_heads % group != 0) --group;
  return group;
}

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
        bias_v_(ToFloats(weights.bias_v)),
        kernels_(config.head_dim(), config.embed_dim) {}

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
  mutable AttentionKernelCache kernels_;
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
    const auto visible =
        static_cast<std::int64_t>(sequence.visible_keys.size());
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
      absl::Status result = CatchDnnl("attention", [&] {
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
    std::vector<AttentionTile> tiles;
    for (const PackedSequence& packed : rows_.sequences) {
      AddTiles(packed, tiles);
    }
    std::vector<AttentionTileComputer> computers;
    computers.reserve(pool_.num_threads());
    for (std::size_t t = 0; t < pool_.num_threads(); ++t) {
      computers.emplace_back(batch_, outputs_, matrices_, embed_dim());
    }
    std::size_t scratch_bytes = 0;
    for (const AttentionTile& tile : tiles) {
      scratch_bytes =
          std::max(scratch_bytes, computers.front().ScratchBytes(tile));
    }
    return ForEach(
        static_cast<std::int64_t>(tiles.size()), scratch_bytes,
        [&](std::int64_t item, std::size_t thread, std::byte* scratch) {
          computers[thread].Compute(tiles[static_cast<std::size_t>(item)],
                                    scratch);
        });
  }

  // Split a sequence into tiles of query rows, and into groups of heads unless
  // their weights are to be averaged.
  void AddTiles(const PackedSequence& packed,
                std::vector<AttentionTile>& tiles) {
    const std::int64_t num_heads = module_.config_.num_heads;
    const bool average = batch_.need_weights && batch_.average_attn_weights;
    const std::int64_t length = packed.sequence->query_length;
    for (std::int64_t first = 0; first < length; first += kTileRows) {
      AttentionTile tile;
      tile.packed = &packed;
      tile.first_row = first;
      tile.num_rows = std::min(kTileRows, length - first);
      tile.group_heads = num_heads;
      if (packed.padded_columns > 0) {
        const std::int64_t height = TileHeight(tile.num_rows);
        tile.group_heads = GroupHeads(num_heads, height, packed.padded_columns);
        tile.kernels = module_.kernels_.Get(
            {tile.group_heads, height, packed.padded_columns});
      }
      tile.num_heads = average ? num_heads : tile.group_heads;
      for (; tile.first_head < num_heads; tile.first_head += tile.num_heads) {
        tiles.push_back(tile);
      }
    }
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
  std::int64_t floats = 0;       // of the packed matrices
  std::int64_t row_entries = 0;  // of the row maps
  std::int64_t tile_floats = 0;  // of one thread
  for (const Sequence& sequence : batch.sequences) {
    const PackedExtent extent = ExtentOf(sequence);
    floats += (extent.query_rows + 2 * extent.key_rows) * config_.embed_dim;
    row_entries += 2 * (sequence.query_length + sequence.num_columns());
    const std::int64_t height = TileHeight(
        std::clamp<std::int64_t>(sequence.query_length, 1, kTileRows));
    tile_floats = std::max(
        tile_floats,
        std::max(kScoresBytes / static_cast<std::int64_t>(sizeof(float)),
                 height * extent.key_rows) +
            extent.key_rows +
            (batch.need_weights ? height * batch.weight_columns() : 0));
  }
  const std::size_t projection =
      std::max({query_.scratch_bytes(), key_.scratch_bytes(),
                value_.scratch_bytes(), output_.scratch_bytes()});
  const std::size_t per_thread =
      std::max(projection,
               static_cast<std::size_t>(tile_floats) * sizeof(float)) +
      kKernelScratchBytes;
  return static_cast<std::size_t>(floats) * sizeof(float) +
         static_cast<std::size_t>(row_entries) * sizeof(std::int64_t) +
         num_threads * per_thread;
}

absl::Status OneDnnAttention::Forward(const PackedBatch& batch,
                                      const AttentionOutputs& outputs,
                                      ComputePool& pool) const {
  absl::Status status;
  const absl::Status thrown = CatchDnnl("attention", [&] {
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
  ATTENTION_RETURN_IF_ERROR(CatchDnnl("preparing the weights", [&] {
    const ComputeThreadScope scope;
    attention = std::make_unique<OneDnnAttention>(config, weights);
  }));
  return attention;
}

}  // namespace attention
