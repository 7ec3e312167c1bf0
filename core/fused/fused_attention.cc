// SPDX-License-Identifier: Apache-2.0
#include "core/fused/fused_attention.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/attention/head_rows.h"
#include "core/fused/fused_pass.h"
#include "core/onednn/compute_rows.h"
#include "core/onednn/for_each_item.h"
#include "core/onednn/tile.h"
#include "core/tensor/carver.h"
#include "core/tensor/floats.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

constexpr std::int64_t kTileColumns = PanelLinear::kPanelWidth;

PackedKeys LayoutOf(const AttentionSpec& spec, DataType dtype) {
  PackedKeys layout;
  layout.dtype = dtype;
  layout.num_heads = spec.num_key_value_heads;
  layout.head_dim = spec.head_dim;
  layout.value_head_dim = spec.value_head_dim;
  return layout;
}

// Memory of all packed weights together.
std::size_t PanelBytes(const AttentionSpec& spec, DataType dtype,
                       const AttentionWeights& weights) {
  Carver counter;
  const auto count = [&](const LinearWeights& linear) {
    (void)counter.Take<std::byte>(
        static_cast<std::int64_t>(PanelLinear::PanelBytes(linear, dtype)));
  };
  if (spec.input_projections) {
    count(weights.query);
    count(weights.key);
    count(weights.value);
  }
  if (spec.output_projection) count(weights.output);
  return counter.used();
}

std::size_t MemoryBytes(const std::optional<PanelLinear>& linear) {
  return linear ? linear->memory_bytes() : 0;
}

// Where the rows of one of the request's tensors go, projected or, without a
// projection, as they are.
struct InputStep {
  const std::optional<PanelLinear>& projection;
  PanelLinear::Input input;
  const HeadRows& heads;  // of the input
  std::int64_t width;     // of a row, projected
  const TileSink& sink;

  [[nodiscard]] std::int64_t num_items() const {
    return projection ? projection->num_items(input.num_rows())
                      : (input.num_rows() + kTileRows - 1) / kTileRows;
  }

  void Compute(std::int64_t item, std::byte* scratch) const {
    if (projection) return projection->Compute(input, item, sink, scratch);
    auto* rows = reinterpret_cast<float*>(scratch);
    const std::int64_t first = item * kTileRows;
    const std::int64_t count = std::min(kTileRows, input.num_rows() - first);
    for (std::int64_t i = 0; i < count; ++i) {
      LoadHeadRow(input.tensor, heads,
                  input.sources[static_cast<std::size_t>(first + i)], width,
                  rows + i * width);
    }
    for (std::int64_t column = 0; column < width; column += kTileColumns) {
      sink.Store(first, column,
                 {.values = rows + column,
                  .stride = width,
                  .rows = count,
                  .columns = std::min(kTileColumns, width - column),
                  .bias = nullptr});
    }
  }
};

// Rows behind a ragged sequence's end have weights of zero.
void ZeroRaggedWeights(const PackedBatch& batch,
                       const MutableTensorView& weights) {
  const std::int64_t heads = batch.average_attn_weights ? 1 : batch.num_heads;
  const std::size_t row_bytes =
      static_cast<std::size_t>(batch.weight_columns()) *
      DataTypeSize(weights.dtype);
  for (const Sequence& sequence : batch.sequences) {
    const std::int64_t missing = batch.max_query_length - sequence.query_length;
    if (missing == 0) continue;
    for (std::int64_t head = 0; head < heads; ++head) {
      const std::int64_t row =
          (sequence.index * heads + head) * batch.max_query_length +
          sequence.query_length;
      std::memset(weights.data + static_cast<std::size_t>(row) * row_bytes, 0,
                  static_cast<std::size_t>(missing) * row_bytes);
    }
  }
}

}  // namespace

// The forward pass of some of a batch's sequences, in memory of LayoutBytes().
class FusedAttention::Pass {
 public:
  Pass(const FusedAttention& attention, const PackedBatch& batch,
       const FusedExtent& extent, const AttentionOutputs& outputs,
       ComputePool& pool, std::byte* memory)
      : attention_(attention),
        spec_(attention.spec_),
        batch_(batch),
        outputs_(outputs),
        pool_(pool),
        extent_(extent),
        layout_(LayoutIn(memory)) {}

  // Throws dnnl::error, std::bad_alloc.
  absl::Status Compute() {
    if (extent_.num_queries == 0) return absl::OkStatus();  // nothing to write
    layout_.Fill(spec_, batch_, extent_);
    ATTENTION_RETURN_IF_ERROR(ProjectInputs());
    ATTENTION_RETURN_IF_ERROR(Attend());
    return ProjectOutput();
  }

 private:
  FusedLayout LayoutIn(std::byte* memory) const {
    Carver carver(memory);
    return FusedLayout(spec_, attention_.layout_, extent_, carver);
  }

  MutableTensorView Matrix(std::byte* data, std::int64_t width) const {
    return {data, attention_.options_.dtype, Shape{extent_.num_queries, width}};
  }

  absl::Status ProjectInputs() {
    const MutableTensorView query =
        Matrix(layout_.matrices.query, spec_.query_width());
    const PackedKeys& packed = layout_.matrices.keys;
    const QuerySink queries(query, layout_.numbers, packed);
    const KeySink keys(packed, KeySink::Part::kKeys, attention_.bias_k_);
    const KeySink values(packed, KeySink::Part::kValues, attention_.bias_v_);
    PrepareKeys(keys, values);
    const std::array<InputStep, 3> steps = {
        InputStep{attention_.query_,
                  {batch_.query, layout_.query_rows},
                  batch_.query_heads,
                  spec_.query_width(),
                  queries},
        InputStep{attention_.key_,
                  {batch_.key, layout_.key_rows},
                  batch_.key_heads,
                  spec_.key_width(),
                  keys},
        InputStep{attention_.value_,
                  {batch_.value, layout_.key_rows},
                  batch_.key_heads,
                  spec_.value_width(),
                  values}};
    return ForEachItemOf(pool_, steps, attention_.InputScratchBytes());
  }

  // What no visible key's row brings with it.
  void PrepareKeys(const KeySink& keys, const KeySink& values) {
    const PackedKeys& packed = layout_.matrices.keys;
    if (packed.key_depth() != packed.head_dim) {
      // The row of zeros behind an odd D.
      std::memset(
          packed.keys, 0,
          static_cast<std::size_t>(extent_.padded_keys * packed.num_heads *
                                   packed.key_depth()) *
              DataTypeSize(packed.dtype));
    }
    for (FusedSequence& sequence : layout_.sequences) {
      if (sequence.sequence->num_visible > 0) continue;
      for (const KeySink* sink : {&keys, &values}) {
        for (std::int64_t column = 0; column < sink->width();
             column += kTileColumns) {
          sink->StoreEnd(sequence, column,
                         std::min(kTileColumns, sink->width() - column));
        }
      }
    }
  }

  absl::Status Attend() {
    const FusedTileComputer::Task task = {spec_, *attention_.kernels_, batch_,
                                          outputs_, layout_.matrices};
    Carver counter;
    (void)FusedTileComputer(task, extent_.tile, counter);
    return ForEachItem(
        pool_, extent_.num_items, counter.used(),
        [&](std::int64_t item, std::size_t, std::byte* scratch) {
          Carver carver(scratch);
          FusedTileComputer(task, extent_.tile, carver)
              .Compute(layout_.items[static_cast<std::size_t>(item)]);
        });
  }

  absl::Status ProjectOutput() {
    const ProjectionRows rows = {
        Matrix(layout_.matrices.context, spec_.output_width()), layout_.numbers,
        outputs_.output, layout_.query_rows};
    return attention_.output_ ? ComputeRows(*attention_.output_, rows, pool_)
                              : CopyRows(rows, spec_.output_width(),
                                         batch_.query_heads, pool_);
  }

  const FusedAttention& attention_;
  const AttentionSpec& spec_;
  const PackedBatch& batch_;
  const AttentionOutputs& outputs_;
  ComputePool& pool_;
  const FusedExtent& extent_;
  FusedLayout layout_;
};

FusedAttention::FusedAttention(const FusedOptions& options,
                               const AttentionSpec& spec,
                               const AttentionWeights& weights)
    : options_(options), spec_(spec), layout_(LayoutOf(spec, options.dtype)) {
  const DataType dtype = options.dtype;
  WeightMemory memory(PanelBytes(spec, dtype, weights));
  if (spec.input_projections) {
    query_.emplace(weights.query, dtype, std::nullopt, memory);
    key_.emplace(weights.key, dtype, std::nullopt, memory);
    value_.emplace(weights.value, dtype, std::nullopt, memory);
  }
  if (spec.output_projection) {
    output_.emplace(weights.output, dtype, std::nullopt, memory);
  }
  bias_k_ = ToFloats(weights.bias_k);
  bias_v_ = ToFloats(weights.bias_v);
  kernels_ = FusedKernels::Get(layout_);
}

std::size_t FusedAttention::memory_bytes() const {
  return MemoryBytes(query_) + MemoryBytes(key_) + MemoryBytes(value_) +
         MemoryBytes(output_) +
         (bias_k_.size() + bias_v_.size()) * sizeof(float);
}

std::size_t FusedAttention::InputScratchBytes() const {
  if (query_) {
    return std::max({query_->scratch_bytes(), key_->scratch_bytes(),
                     value_->scratch_bytes()});
  }
  return static_cast<std::size_t>(
             kTileRows * std::max({spec_.query_width(), spec_.key_width(),
                                   spec_.value_width()})) *
         sizeof(float);
}

std::size_t FusedAttention::OutputScratchBytes() const {
  return output_ ? output_->scratch_bytes()
                 : CopyRowsScratchBytes(spec_.output_width());
}

FusedExtent FusedAttention::NextPass(const PackedBatch& batch,
                                     std::span<const Sequence>& left) const {
  return {spec_, batch, TakePass(spec_, layout_, options_.pass_bytes, left)};
}

std::size_t FusedAttention::LayoutBytes(const PackedBatch& batch) const {
  std::size_t most = 0;
  for (std::span<const Sequence> left = batch.sequences; !left.empty();) {
    Carver counter;
    (void)FusedLayout(spec_, layout_, NextPass(batch, left), counter);
    most = std::max(most, counter.used());
  }
  return most;
}

std::size_t FusedAttention::ScratchBytes(const PackedBatch& batch,
                                         std::size_t num_threads) const {
  // Weights may have to be converted.
  AttentionOutputs outputs;
  outputs.weights.emplace().dtype = DataType::kFloat16;
  std::size_t layout_bytes = 0;
  std::size_t thread_bytes =
      std::max(InputScratchBytes(), OutputScratchBytes());
  for (std::span<const Sequence> left = batch.sequences; !left.empty();) {
    const FusedExtent extent = NextPass(batch, left);
    Carver counter;
    const FusedLayout layout(spec_, layout_, extent, counter);
    Carver tile;
    (void)FusedTileComputer({spec_, *kernels_, batch, outputs, layout.matrices},
                            extent.tile, tile);
    layout_bytes = std::max(layout_bytes, counter.used());
    thread_bytes = std::max(thread_bytes, tile.used());
  }
  return layout_bytes + num_threads * thread_bytes +
         (num_threads + 1) * kTensorAlignment;  // what alignment may take
}

absl::Status FusedAttention::Forward(const PackedBatch& batch,
                                     const AttentionOutputs& outputs,
                                     ComputePool& pool) const {
  if (outputs.weights) ZeroRaggedWeights(batch, *outputs.weights);
  ComputePool::Lease memory(pool, LayoutBytes(batch));
  for (std::span<const Sequence> left = batch.sequences; !left.empty();) {
    const FusedExtent extent = NextPass(batch, left);
    ATTENTION_RETURN_IF_ERROR(
        Pass(*this, batch, extent, outputs, pool, memory.data()).Compute());
  }
  return absl::OkStatus();
}

}  // namespace attention
