// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <format>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/attention/check_inputs.h"
#include "core/attention/integers.h"
#include "core/attention/module_spec.h"
#include "core/attention/packed_batch.h"
#include "core/tensor/convert.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Whether key j of sequence n is padding by key_padding_mask.
bool IsPadding(const TensorView& key_padding_mask, std::int64_t n,
               std::int64_t j) {
  const auto place =
      static_cast<std::size_t>(n * key_padding_mask.shape.back() + j);
  const std::byte* element =
      key_padding_mask.data + place * DataTypeSize(key_padding_mask.dtype);
  if (key_padding_mask.dtype == DataType::kBool) {
    return *element != std::byte{0};
  }
  double value = 0.0;
  LoadReals(key_padding_mask.dtype, element, 1, &value);
  return value == -std::numeric_limits<double>::infinity();
}

// Number of leading keys of sequence n that valid_lens leaves, at most S.
std::int64_t ValidKeys(const TensorView& valid_lens, bool replaces_scores,
                       const Sequence& sequence) {
  const bool per_row = valid_lens.shape.rank() == 2;
  const std::int64_t columns = per_row ? valid_lens.shape.dim(1) : 1;
  const std::int64_t rows = per_row ? sequence.query_length : 1;
  // With a length for each query row, a key is padding if no row sees it.
  std::int64_t longest = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t length =
        LoadInteger(valid_lens, sequence.index * columns + i);
    // Such a row's scores are all replaced: it averages all keys.
    if (replaces_scores && length <= 0) return sequence.key_length;
    longest = std::max(longest, length);
  }
  return std::min(longest, sequence.key_length);
}

// Find the keys of `sequence` that are not padding; list them if they are not
// the first ones.
void FindVisibleKeys(const AttentionInputs& inputs, bool replaces_scores,
                     Sequence& sequence) {
  // Beside other masks, a key whose score is replaced may be all a row sees.
  const bool sees_replaced =
      replaces_scores && (inputs.attn_mask || inputs.key_padding_mask ||
                          inputs.causal != Causal::kNone);
  const std::int64_t end =
      inputs.valid_lens && !sees_replaced
          ? ValidKeys(*inputs.valid_lens, replaces_scores, sequence)
          : sequence.key_length;
  sequence.num_visible = end;
  if (!inputs.key_padding_mask) return;
  const auto is_padding = [&](std::int64_t j) {
    return IsPadding(*inputs.key_padding_mask, sequence.index, j);
  };
  std::int64_t count = 0;
  std::int64_t last = -1;
  for (std::int64_t j = 0; j < end; ++j) {
    if (is_padding(j)) continue;
    ++count;
    last = j;
  }
  sequence.num_visible = count;
  if (count == last + 1) return;
  sequence.visible_keys.reserve(static_cast<std::size_t>(count));
  for (std::int64_t j = 0; j <= last; ++j) {
    if (is_padding(j)) continue;
    sequence.visible_keys.push_back(static_cast<std::int32_t>(j));
  }
}

// The sequences of a batched or unbatched request.
void AddDenseSequences(const Layout& layout, PackedBatch& batch) {
  for (std::int64_t n = 0; n < layout.batch_size; ++n) {
    Sequence sequence;
    sequence.index = n;
    sequence.query_length = layout.query_length;
    sequence.key_length = layout.key_length;
    sequence.first_query_row =
        layout.sequence_first ? n : n * layout.query_length;
    sequence.first_key_row = layout.sequence_first ? n : n * layout.key_length;
    sequence.query_row_step = layout.sequence_first ? layout.batch_size : 1;
    sequence.key_row_step = sequence.query_row_step;
    batch.sequences.push_back(std::move(sequence));
  }
}

// The sequences of a ragged request.
void AddRaggedSequences(const AttentionInputs& inputs, PackedBatch& batch) {
  const std::vector<std::int64_t>& key_lengths =
      inputs.key_lengths.empty() ? inputs.query_lengths : inputs.key_lengths;
  std::int64_t query_row = 0;
  std::int64_t key_row = 0;
  for (std::size_t n = 0; n < inputs.query_lengths.size(); ++n) {
    Sequence sequence;
    sequence.index = static_cast<std::int64_t>(n);
    sequence.query_length = inputs.query_lengths[n];
    sequence.key_length = key_lengths[n];
    sequence.first_query_row = query_row;
    sequence.first_key_row = key_row;
    query_row += sequence.query_length;
    key_row += sequence.key_length;
    batch.sequences.push_back(std::move(sequence));
  }
}

absl::StatusOr<OutputShapes> ShapesOf(const AttentionSpec& spec,
                                      const Layout& layout,
                                      const PackedBatch& batch) {
  OutputShapes shapes;
  std::vector<std::int64_t> dims(batch.query.shape.dims().begin(),
                                 batch.query.shape.dims().end());
  dims.back() = layout.heads_apart ? spec.value_head_dim : spec.output_width();
  ATTENTION_ASSIGN_OR_RETURN(shapes.output, Shape::Create(dims));
  if (!batch.need_weights) return shapes;
  dims.clear();
  if (layout.batched) dims.push_back(layout.batch_size);
  if (!batch.average_attn_weights) dims.push_back(spec.num_heads);
  dims.push_back(batch.max_query_length);
  dims.push_back(batch.weight_columns());
  absl::StatusOr<Shape> weights = Shape::Create(dims);
  if (!weights.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("need_weights: the weights are too large: ",
                     weights.status().message()));
  }
  shapes.weights = *weights;
  return shapes;
}

// How rows of a mask (L, S), (N*H, L, S) or (N, H, L, S) belong to rows of
// scores; of the last one's dimensions, those that are 1 serve all.
MaskSteps StepsOf(const Shape& mask, std::int64_t num_heads) {
  const std::int64_t rows = mask.rank() >= 2 ? mask.dim(mask.rank() - 2) : 0;
  if (mask.rank() == 2) return {.sequence = 0, .head = 0, .row = 1};
  if (mask.rank() == 3) {
    return {.sequence = num_heads * rows, .head = rows, .row = 1};
  }
  const auto step = [&](std::size_t axis, std::int64_t size) {
    return mask.dim(axis) == 1 ? 0 : size;
  };
  return {.sequence = step(0, mask.dim(1) * rows),
          .head = step(1, rows),
          .row = step(2, 1)};
}

// Take over the masks that apply; is_causal may replace attn_mask.
void SetMasks(const AttentionSpec& spec, const AttentionInputs& inputs,
              PackedBatch& batch) {
  const bool is_mask = spec.is_causal == IsCausal::kMask;
  batch.causal = inputs.is_causal && is_mask ? Causal::kTopLeft : inputs.causal;
  // torch/nn/functional.py: "if is_causal and key_padding_mask is None and not
  // need_weights: attn_mask = None", then SDPA(is_causal=True).
  batch.causal_over_appended = inputs.is_causal && !is_mask &&
                               !inputs.key_padding_mask && !inputs.valid_lens &&
                               !inputs.need_weights;
  if (inputs.attn_mask && !batch.causal_over_appended) {
    batch.attn_mask = inputs.attn_mask;
    batch.attn_mask_steps = StepsOf(inputs.attn_mask->shape, spec.num_heads);
  }
  if (inputs.key_padding_mask && IsFloating(inputs.key_padding_mask->dtype)) {
    batch.key_padding_mask = inputs.key_padding_mask;
  }
  batch.replaces_scores = spec.replaces_scores;
  if (inputs.valid_lens &&
      (spec.replaces_scores || inputs.valid_lens->shape.rank() == 2)) {
    batch.row_valid_lens = inputs.valid_lens;
  }
}

// Everything of a request but its masks, shapes and sequences.
PackedBatch DescribeBatch(const AttentionSpec& spec, const Layout& layout,
                          const AttentionInputs& inputs) {
  PackedBatch batch;
  batch.query = inputs.query;
  batch.key = inputs.key.value_or(inputs.query);
  batch.value = inputs.value.value_or(batch.key);
  batch.query_heads = {spec.num_heads, layout.query_length, layout.heads_apart};
  batch.key_heads = {spec.num_key_value_heads, layout.key_length,
                     layout.heads_apart};
  batch.num_heads = spec.num_heads;
  batch.max_query_length = layout.query_length;
  batch.max_key_length = layout.key_length;
  batch.appended_keys = spec.appended_keys();
  batch.need_weights = inputs.need_weights;
  batch.average_attn_weights = inputs.average_attn_weights;
  batch.masked_rows_are_nan =
      inputs.masked_row_policy == MaskedRowPolicy::kNaN ||
      (inputs.masked_row_policy == MaskedRowPolicy::kTorch &&
       inputs.need_weights && spec.masked_rows_are_nan_with_weights);
  batch.weights_before_dropout = spec.weights_before_dropout;
  batch.dropout = inputs.training ? spec.dropout : 0.0;
  batch.dropout_seed = inputs.dropout_seed;
  return batch;
}

}  // namespace

std::size_t CopyBytes(const PackedBatch& batch) {
  std::size_t num_bytes = 0;
  for (const Sequence& sequence : batch.sequences) {
    num_bytes += sizeof(Sequence) +
                 sequence.visible_keys.capacity() * sizeof(std::int32_t);
  }
  return num_bytes;
}

absl::StatusOr<PackedBatch> ResolveRequest(const ModuleConfig& config,
                                           const AttentionInputs& inputs) {
  const ModuleSpec model = SpecOf(config);
  const AttentionSpec& spec = model.attention;
  ATTENTION_ASSIGN_OR_RETURN(const Layout layout, CheckInputs(model, inputs));
  PackedBatch batch = DescribeBatch(spec, layout, inputs);
  SetMasks(spec, inputs, batch);
  ATTENTION_ASSIGN_OR_RETURN(batch.shapes, ShapesOf(spec, layout, batch));
  // Without query rows there is nothing to compute, however many sequences.
  if (layout.query_length == 0) return batch;
  batch.sequences.reserve(static_cast<std::size_t>(layout.batch_size));
  if (layout.ragged) {
    AddRaggedSequences(inputs, batch);
  } else {
    AddDenseSequences(layout, batch);
  }
  for (Sequence& sequence : batch.sequences) {
    sequence.appended_keys = batch.appended_keys;
    FindVisibleKeys(inputs, spec.replaces_scores, sequence);
  }
  return batch;
}

}  // namespace attention
