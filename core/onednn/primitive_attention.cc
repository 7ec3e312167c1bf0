// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/primitive_attention.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "core/onednn/attention_tile.h"
#include "core/onednn/compute_rows.h"
#include "core/onednn/for_each_item.h"
#include "core/onednn/packed_rows.h"
#include "core/onednn/tile.h"
#include "core/tensor/floats.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Bound on the small objects a thread makes in a pass.
constexpr std::size_t kThreadBytes = 16384;

std::size_t MemoryBytes(const std::optional<Projection>& projection) {
  return projection ? projection->memory_bytes() : 0;
}

std::size_t ProjectionScratchBytes(
    const std::optional<Projection>& projection) {
  return projection ? projection->scratch_bytes() : 0;
}

std::int64_t NumRowTiles(const ProjectionRows& rows) {
  const auto num_rows = static_cast<std::int64_t>(rows.sources.size());
  return (num_rows + kTileRows - 1) / kTileRows;
}

// Where the rows of one of the request's tensors go, projected or, without a
// projection, as they are.
struct InputStep {
  const std::optional<Projection>& projection;
  ProjectionRows rows;
  HeadRows heads;  // of the input

  [[nodiscard]] std::int64_t num_items() const {
    return projection ? projection->num_items(rows) : NumRowTiles(rows);
  }
  void Compute(std::int64_t item, std::byte* scratch) const {
    if (projection) return projection->Compute(rows, item, scratch);
    const std::int64_t width = rows.output.shape.back();
    auto* matrix = reinterpret_cast<float*>(rows.output.data);
    const auto first = static_cast<std::size_t>(item * kTileRows);
    const std::size_t end = std::min(first + kTileRows, rows.sources.size());
    for (std::size_t t = first; t < end; ++t) {
      LoadHeadRow(rows.input, heads, rows.sources[t], width,
                  matrix + rows.targets[t] * width);
    }
  }
};

}  // namespace

// One forward pass.
class PrimitiveAttention::Pass {
 public:
  Pass(const PrimitiveAttention& attention, const PackedBatch& batch,
       const AttentionOutputs& outputs, ComputePool& pool)
      : attention_(attention),
        spec_(attention.spec_),
        batch_(batch),
        outputs_(outputs),
        pool_(pool),
        rows_(batch),
        memory_(pool, MatrixFloats() * sizeof(float)) {
    CarveMatrices();
  }

  // Throws dnnl::error, std::bad_alloc.
  absl::Status Compute() {
    for (const PackedSequence& packed : rows_.sequences) FillEnds(packed);
    ATTENTION_RETURN_IF_ERROR(ProjectInputs());
    ATTENTION_RETURN_IF_ERROR(Attend());
    return ProjectOutput();
  }

 private:
  static MutableTensorView Matrix(float* data, std::int64_t num_rows,
                                  std::int64_t width) {
    return {reinterpret_cast<std::byte*>(data), DataType::kFloat32,
            Shape{num_rows, width}};
  }

  std::size_t MatrixFloats() const {
    return static_cast<std::size_t>(
        rows_.query_rows * (spec_.query_width() + spec_.own_context_width()) +
        rows_.key_rows * (spec_.key_width() + spec_.value_width()));
  }
  void CarveMatrices() {
    matrices_.query = reinterpret_cast<float*>(memory_.data());
    matrices_.key = matrices_.query + rows_.query_rows * spec_.query_width();
    matrices_.value = matrices_.key + rows_.key_rows * spec_.key_width();
    matrices_.context =
        spec_.own_context_width() > 0
            ? matrices_.value + rows_.key_rows * spec_.value_width()
            : matrices_.query;
  }

  // Zero the padding of a sequence's rows and append bias_k and bias_v. (The
  // row of zeros of add_zero_attn lies before the padding.)
  void FillEnds(const PackedSequence& packed) {
    const Sequence& sequence = *packed.sequence;
    const std::int64_t query_width = spec_.query_width();
    const std::int64_t query_end = packed.query_offset + sequence.query_length;
    const std::int64_t query_padding =
        TiledRows(sequence.query_length) - sequence.query_length;
    std::fill_n(matrices_.query + query_end * query_width,
                query_padding * query_width, 0.0F);
    const std::int64_t end = packed.key_offset + sequence.num_visible;
    const std::int64_t padding = packed.padded_columns - sequence.num_visible;
    float* key_end = matrices_.key + end * spec_.key_width();
    float* value_end = matrices_.value + end * spec_.value_width();
    std::fill_n(key_end, padding * spec_.key_width(), 0.0F);
    std::fill_n(value_end, padding * spec_.value_width(), 0.0F);
    std::ranges::copy(attention_.bias_k_, key_end);
    std::ranges::copy(attention_.bias_v_, value_end);
  }

  absl::Status ProjectInputs() {
    const InputStep steps[] = {
        {attention_.query_,
         {batch_.query, rows_.query_sources,
          Matrix(matrices_.query, rows_.query_rows, spec_.query_width()),
          rows_.query_targets},
         batch_.query_heads},
        {attention_.key_,
         {batch_.key, rows_.key_sources,
          Matrix(matrices_.key, rows_.key_rows, spec_.key_width()),
          rows_.key_targets},
         batch_.key_heads},
        {attention_.value_,
         {batch_.value, rows_.key_sources,
          Matrix(matrices_.value, rows_.key_rows, spec_.value_width()),
          rows_.key_targets},
         batch_.key_heads}};
    return ForEachItemOf(pool_, steps,
                         std::max({ProjectionScratchBytes(attention_.query_),
                                   ProjectionScratchBytes(attention_.key_),
                                   ProjectionScratchBytes(attention_.value_)}));
  }

  absl::Status ProjectOutput() {
    const ProjectionRows rows = {
        Matrix(matrices_.context, rows_.query_rows, spec_.output_width()),
        rows_.query_targets, outputs_.output, rows_.query_sources};
    return attention_.output_ ? ComputeRows(*attention_.output_, rows, pool_)
                              : CopyRows(rows, spec_.output_width(),
                                         batch_.query_heads, pool_);
  }

  absl::Status Attend() {
    std::int64_t num_tiles = 0;
    std::size_t scratch_bytes = 0;
    for (const Sequence& sequence : batch_.sequences) {
      num_tiles += NumTiles(spec_, batch_, sequence);
      scratch_bytes =
          std::max(scratch_bytes, TileScratchBytes(batch_, sequence));
    }
    std::vector<AttentionTile> tiles;
    tiles.reserve(static_cast<std::size_t>(num_tiles));
    for (const PackedSequence& packed : rows_.sequences) {
      AddTiles(spec_, batch_, packed, tiles);
    }
    std::vector<std::unique_ptr<AttentionTileComputer>> computers(
        pool_.num_threads());
    return ForEachItem(
        pool_, num_tiles, scratch_bytes,
        [&](std::int64_t item, std::size_t thread, std::byte* scratch) {
          std::unique_ptr<AttentionTileComputer>& computer = computers[thread];
          if (computer == nullptr) {
            computer = std::make_unique<AttentionTileComputer>(
                spec_, batch_, outputs_, matrices_);
          }
          computer->Compute(tiles[static_cast<std::size_t>(item)], scratch);
        });
  }

  const PrimitiveAttention& attention_;
  const AttentionSpec& spec_;
  const PackedBatch& batch_;
  const AttentionOutputs& outputs_;
  ComputePool& pool_;
  const PackedRows rows_;
  ComputePool::Lease memory_;
  PackedMatrices matrices_;
};

PrimitiveAttention::PrimitiveAttention(const AttentionSpec& spec,
                                       const AttentionWeights& weights)
    : spec_(spec) {
  if (spec.input_projections) {
    query_.emplace(weights.query);
    key_.emplace(weights.key);
    value_.emplace(weights.value);
  }
  if (spec.output_projection) output_.emplace(weights.output);
  bias_k_ = ToFloats(weights.bias_k);
  bias_v_ = ToFloats(weights.bias_v);
}

std::size_t PrimitiveAttention::memory_bytes() const {
  return MemoryBytes(query_) + MemoryBytes(key_) + MemoryBytes(value_) +
         MemoryBytes(output_) +
         (bias_k_.size() + bias_v_.size()) * sizeof(float);
}

std::size_t PrimitiveAttention::ScratchBytes(const PackedBatch& batch,
                                             std::size_t num_threads) const {
  const std::int64_t query_widths =
      spec_.query_width() + spec_.own_context_width();
  const std::int64_t key_widths = spec_.key_width() + spec_.value_width();
  std::int64_t num_floats = 0;  // of the packed matrices
  std::int64_t num_row_entries = 0;
  std::int64_t num_tiles = 0;
  std::size_t tile_bytes = 0;
  for (const Sequence& sequence : batch.sequences) {
    const PackedExtent extent = ExtentOf(sequence);
    num_floats +=
        extent.query_rows * query_widths + extent.key_rows * key_widths;
    num_row_entries += 2 * (sequence.query_length + sequence.num_visible);
    num_tiles += NumTiles(spec_, batch, sequence);
    tile_bytes = std::max(tile_bytes, TileScratchBytes(batch, sequence));
  }
  const std::size_t projection_bytes =
      std::max({ProjectionScratchBytes(query_), ProjectionScratchBytes(key_),
                ProjectionScratchBytes(value_), ProjectionScratchBytes(output_),
                output_ ? 0 : CopyRowsScratchBytes(spec_.output_width())});
  const std::size_t busy_threads =
      std::min(num_threads, static_cast<std::size_t>(num_tiles));
  return static_cast<std::size_t>(num_floats) * sizeof(float) +
         static_cast<std::size_t>(num_row_entries) * sizeof(std::int64_t) +
         static_cast<std::size_t>(num_tiles) * sizeof(AttentionTile) +
         batch.sequences.size() * sizeof(PackedSequence) +
         busy_threads * (tile_bytes + TileObjectBytes(batch)) +
         num_threads * (projection_bytes + kThreadBytes);
}

absl::Status PrimitiveAttention::Forward(const PackedBatch& batch,
                                         const AttentionOutputs& outputs,
                                         ComputePool& pool) const {
  if (outputs.weights) {
    // Rows behind a ragged sequence's end are zeros.
    std::fill_n(outputs.weights->data, outputs.weights->num_bytes(),
                std::byte{0});
  }
  return Pass(*this, batch, outputs, pool).Compute();
}

}  // namespace attention
