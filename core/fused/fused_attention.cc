// SPDX-License-Identifier: Apache-2.0
#include "core/fused/fused_attention.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/fused/key_sink.h"
#include "core/fused/row_source.h"
#include "core/onednn/for_each_item.h"
#include "core/onednn/tile.h"
#include "core/tensor/carver.h"
#include "core/tensor/floats.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

constexpr std::int64_t kPatchColumns = PanelLinear::kPanelWidth;

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

LinearWeights Unpacked(const std::optional<PanelLinear>& linear) {
  return linear ? linear->Unpack() : LinearWeights();
}

// Items that rows are projected by or, without a projection, copied.
std::int64_t NumItems(const std::optional<PanelLinear>& projection,
                      std::int64_t num_rows) {
  return projection ? projection->num_items(num_rows)
                    : (num_rows + kTileRows - 1) / kTileRows;
}

// Where the rows of a pass's queries, keys or values go, projected or, without
// a projection, as they are.
struct InputStep {
  const std::optional<PanelLinear>& projection;
  PassRows input;
  std::int64_t width;  // of a row, projected
  const PatchSink& sink;

  [[nodiscard]] std::int64_t num_items() const {
    return NumItems(projection, input.num_rows());
  }

  void Compute(std::int64_t item, std::byte* scratch) const {
    const RowRange rows = PanelLinear::RowsOf(input.num_rows(), item);
    if (input.AllStopped(rows)) return;
    if (projection) return projection->Compute(input, item, sink, scratch);
    Copy(rows, reinterpret_cast<float*>(scratch));
  }

 private:
  void Copy(const RowRange& rows, float* floats) const {
    ForEachRun(input, rows, [&](const RowSource::Run& run, std::int64_t first) {
      for (std::int64_t i = 0; i < run.count; ++i) {
        ReadRow(run.rows, i, width, floats + (first + i) * width);
      }
    });
    for (std::int64_t column = 0; column < width; column += kPatchColumns) {
      sink.Store(rows.first, column,
                 {.values = floats + column,
                  .stride = width,
                  .rows = rows.count,
                  .columns = std::min(kPatchColumns, width - column),
                  .bias = nullptr});
    }
  }
};

}  // namespace

// The forward pass of some sequences, in memory of LayoutBytes().
class FusedAttention::Pass {
 public:
  Pass(const FusedAttention& attention, const FusedExtent& extent,
       std::uint32_t layer, const Work& work)
      : attention_(attention),
        spec_(attention.spec_),
        pool_(work.pool),
        extent_(extent),
        layer_(layer),
        layout_(LayoutIn(work.memory)) {}

  // Throws dnnl::error, std::bad_alloc.
  absl::Status Compute() {
    layout_.Fill(spec_, extent_);
    ATTENTION_RETURN_IF_ERROR(ProjectInputs());
    ATTENTION_RETURN_IF_ERROR(Attend());
    return ProjectOutput();
  }

 private:
  FusedLayout LayoutIn(std::byte* memory) const {
    Carver carver(memory);
    return FusedLayout(spec_, attention_.layout_, extent_, carver);
  }

  MutableRows Matrix(std::byte* data, std::int64_t width) const {
    MutableRows rows;
    rows.data = data;
    rows.step = width;
    rows.dtype = attention_.options_.dtype;
    return rows;
  }
  MutableRows Context() const {
    return Matrix(layout_.matrices.context, spec_.output_width());
  }

  absl::Status ProjectInputs() {
    using Part = PassRows::Part;
    const PackedKeys& packed = layout_.matrices.keys;
    const QuerySink queries(Matrix(layout_.matrices.query, spec_.query_width()),
                            packed);
    const KeySink keys(packed, KeySink::Part::kKeys, attention_.bias_k_);
    const KeySink values(packed, KeySink::Part::kValues, attention_.bias_v_);
    PrepareKeys(keys, values);
    const auto step = [&](const std::optional<PanelLinear>& projection,
                          Part part, std::int64_t width,
                          const PatchSink& sink) {
      const std::int64_t num_rows =
          part == Part::kQuery ? extent_.num_queries : extent_.num_visible;
      return InputStep{projection, PassRows(layout_.sequences, part, num_rows),
                       width, sink};
    };
    const std::array<InputStep, 3> steps = {
        step(attention_.query_, Part::kQuery, spec_.query_width(), queries),
        step(attention_.key_, Part::kKey, spec_.key_width(), keys),
        step(attention_.value_, Part::kValue, spec_.value_width(), values)};
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
    for (PassSequence& sequence : layout_.sequences) {
      if (sequence.sequence->num_visible > 0) continue;
      for (const KeySink* sink : {&keys, &values}) {
        for (std::int64_t column = 0; column < sink->width();
             column += kPatchColumns) {
          sink->StoreEnd(sequence, column,
                         std::min(kPatchColumns, sink->width() - column));
        }
      }
    }
  }

  absl::Status Attend() {
    const FusedTileComputer::Task task = {spec_, *attention_.kernels_,
                                          layout_.matrices, layer_};
    Carver counter;
    (void)ItemMemory(attention_.layout_, extent_.tile, counter);
    return ForEachItem(
        pool_, extent_.num_items, counter.used(),
        [&](std::int64_t index, std::size_t, std::byte* scratch) {
          const FusedItem& item =
              layout_.items[static_cast<std::size_t>(index)];
          if (item.rows.place->request().StopRequested()) return;
          Carver carver(scratch);
          const ItemMemory memory(attention_.layout_, extent_.tile, carver);
          ComputeFusedItem(task, item, memory);
        });
  }

  // Hand the context over, projected or, without a projection, as it is.
  absl::Status ProjectOutput() {
    const std::optional<PanelLinear>& output = attention_.output_;
    const std::int64_t num_rows = extent_.num_queries;
    const MatrixRows context(Context(), num_rows);
    const OutputSink sink(layout_.sequences);
    return ForEachItem(
        pool_, NumItems(output, num_rows), attention_.OutputScratchBytes(),
        [&](std::int64_t item, std::size_t, std::byte* scratch) {
          const RowRange rows = PanelLinear::RowsOf(num_rows, item);
          if (AllStopped(layout_.sequences, &PassSequence::first_query, rows)) {
            return;
          }
          if (output) return output->Compute(context, item, sink, scratch);
          CopyOutput(rows, reinterpret_cast<float*>(scratch));
        });
  }

  void CopyOutput(const RowRange& rows, float* line) const {
    const std::int64_t width = spec_.output_width();
    const Rows context = Context();
    ForEachRow(layout_.sequences, &PassSequence::first_query, rows,
               [&](const PassSequence& place, auto position, auto row) {
                 ReadRow(context, row, width, line);
                 WriteRow(line, width, place.sequence->output, position);
               });
  }

  const FusedAttention& attention_;
  const AttentionSpec& spec_;
  ComputePool& pool_;
  const FusedExtent& extent_;
  const std::uint32_t layer_;
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

AttentionWeights FusedAttention::Unpack() const {
  return {.query = Unpacked(query_),
          .key = Unpacked(key_),
          .value = Unpacked(value_),
          .output = Unpacked(output_),
          .bias_k = ToTensor(bias_k_),
          .bias_v = ToTensor(bias_v_)};
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
  return output_
             ? output_->scratch_bytes()
             : static_cast<std::size_t>(spec_.output_width()) * sizeof(float);
}

FusedExtent FusedAttention::NextPass(std::span<const Sequence>& left) const {
  return {spec_, TakePass(spec_, layout_, options_.pass_bytes, left)};
}

std::size_t FusedAttention::LayoutBytes(
    std::span<const Sequence> sequences) const {
  std::size_t most = 0;
  for (std::span<const Sequence> left = sequences; !left.empty();) {
    Carver counter;
    (void)FusedLayout(spec_, layout_, NextPass(left), counter);
    most = std::max(most, counter.used());
  }
  return most;
}

std::size_t FusedAttention::ScratchBytes(std::span<const Sequence> sequences,
                                         std::size_t num_threads) const {
  std::size_t layout_bytes = 0;
  std::size_t thread_bytes =
      std::max(InputScratchBytes(), OutputScratchBytes());
  for (std::span<const Sequence> left = sequences; !left.empty();) {
    const FusedExtent extent = NextPass(left);
    Carver counter;
    (void)FusedLayout(spec_, layout_, extent, counter);
    Carver tile;
    (void)ItemMemory(layout_, extent.tile, tile);
    layout_bytes = std::max(layout_bytes, counter.used());
    thread_bytes = std::max(thread_bytes, tile.used());
  }
  return layout_bytes + num_threads * thread_bytes +
         (num_threads + 1) * kTensorAlignment;  // what alignment may take
}

absl::Status FusedAttention::Forward(std::span<const Sequence> sequences,
                                     std::uint32_t layer,
                                     ComputePool& pool) const {
  for (const Sequence& sequence : sequences) ZeroMissingWeights(sequence);
  ComputePool::Lease memory(pool, LayoutBytes(sequences));
  for (std::span<const Sequence> left = sequences; !left.empty();) {
    const FusedExtent extent = NextPass(left);
    ATTENTION_RETURN_IF_ERROR(
        Pass(*this, extent, layer, {pool, memory.data()}).Compute());
  }
  return absl::OkStatus();
}

}  // namespace attention
