// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/attention/check_inputs.h"
#include "core/attention/integers.h"
#include "core/attention/module_spec.h"
#include "core/attention/request_plan.h"
#include "core/attention/token_rows.h"
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
void FindVisibleKeys(const AttentionInputs& inputs, Sequence& sequence,
                     RequestPlan& request) {
  // Beside other masks, a key whose score is replaced may be all a row sees.
  const bool sees_replaced =
      request.replaces_scores && (inputs.attn_mask || inputs.key_padding_mask ||
                                  inputs.causal != Causal::kNone);
  const std::int64_t end =
      inputs.valid_lens && !sees_replaced
          ? ValidKeys(*inputs.valid_lens, request.replaces_scores, sequence)
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
  std::vector<std::int32_t>& keys = request.visible_keys.emplace_back();
  keys.reserve(static_cast<std::size_t>(count));
  for (std::int64_t j = 0; j <= last; ++j) {
    if (!is_padding(j)) keys.push_back(static_cast<std::int32_t>(j));
  }
  // The elements stay where they are when the list of lists grows.
  sequence.visible_keys = keys;
}

TokenLayout LayoutOf(const Layout& layout, std::int64_t num_heads,
                     std::int64_t length) {
  return {.sequence_first = layout.sequence_first,
          .heads_apart = layout.heads_apart,
          .batch_size = layout.batch_size,
          .num_heads = num_heads,
          .length = length};
}

// Lay the inputs out as sequences.
void AddSequences(const AttentionSpec& spec, const Layout& layout,
                  const AttentionInputs& inputs, RequestPlan& request) {
  const TensorView& key = inputs.key ? *inputs.key : inputs.query;
  const TensorView& value = inputs.value ? *inputs.value : key;
  const TokenLayout key_layout =
      LayoutOf(layout, spec.num_key_value_heads, layout.key_length);
  const std::vector<std::int64_t>& key_lengths =
      inputs.key_lengths.empty() ? inputs.query_lengths : inputs.key_lengths;
  std::int64_t query_row = 0;
  std::int64_t key_row = 0;
  request.sequences.reserve(static_cast<std::size_t>(layout.batch_size));
  for (std::int64_t n = 0; n < layout.batch_size; ++n) {
    const auto place = static_cast<std::size_t>(n);
    Sequence sequence;
    sequence.request = &request;
    sequence.index = n;
    sequence.query_length =
        layout.ragged ? inputs.query_lengths[place] : layout.query_length;
    sequence.key_length =
        layout.ragged ? key_lengths[place] : layout.key_length;
    sequence.appended_keys = request.appended_keys;
    const std::int64_t first_query = layout.sequence_first ? n : query_row;
    const std::int64_t first_key = layout.sequence_first ? n : key_row;
    sequence.query = RowsOf<const std::byte>(inputs.query, request.query_layout,
                                             first_query);
    sequence.key = RowsOf<const std::byte>(key, key_layout, first_key);
    sequence.value = RowsOf<const std::byte>(value, key_layout, first_key);
    query_row += sequence.query_length;
    key_row += sequence.key_length;
    FindVisibleKeys(inputs, sequence, request);
    request.sequences.push_back(sequence);
  }
}

absl::StatusOr<OutputShapes> ShapesOf(const AttentionSpec& spec,
                                      const Layout& layout,
                                      const TensorView& query,
                                      const RequestPlan& request) {
  OutputShapes shapes;
  std::vector<std::int64_t> dims(query.shape.dims().begin(),
                                 query.shape.dims().end());
  dims.back() = layout.heads_apart ? spec.value_head_dim : spec.output_width();
  ATTENTION_ASSIGN_OR_RETURN(shapes.output, Shape::Create(dims));
  if (!request.need_weights) return shapes;
  dims.clear();
  if (layout.batched) dims.push_back(layout.batch_size);
  if (!request.average_attn_weights) dims.push_back(spec.num_heads);
  dims.push_back(request.max_query_length);
  dims.push_back(request.weight_columns());
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
              RequestPlan& request) {
  const bool is_mask = spec.is_causal == IsCausal::kMask;
  request.causal =
      inputs.is_causal && is_mask ? Causal::kTopLeft : inputs.causal;
  // torch/nn/functional.py: "if is_causal and key_padding_mask is None and not
  // need_weights: attn_mask = None", then SDPA(is_causal=True).
  request.causal_over_appended = inputs.is_causal && !is_mask &&
                                 !inputs.key_padding_mask &&
                                 !inputs.valid_lens && !inputs.need_weights;
  if (inputs.attn_mask && !request.causal_over_appended) {
    request.attn_mask = inputs.attn_mask;
    request.attn_mask_steps = StepsOf(inputs.attn_mask->shape, spec.num_heads);
  }
  if (inputs.key_padding_mask && IsFloating(inputs.key_padding_mask->dtype)) {
    request.key_padding_mask = inputs.key_padding_mask;
  }
  request.replaces_scores = spec.replaces_scores;
  if (inputs.valid_lens &&
      (spec.replaces_scores || inputs.valid_lens->shape.rank() == 2)) {
    request.row_valid_lens = inputs.valid_lens;
  }
}

// Everything of a request but its masks, shapes and sequences.
void Describe(const AttentionSpec& spec, const Layout& layout,
              const AttentionInputs& inputs, RequestPlan& request) {
  request.dtype = inputs.query.dtype;
  request.query_layout = LayoutOf(layout, spec.num_heads, layout.query_length);
  request.num_heads = spec.num_heads;
  request.max_query_length = layout.query_length;
  request.max_key_length = layout.key_length;
  request.appended_keys = spec.appended_keys();
  request.need_weights = inputs.need_weights;
  request.average_attn_weights = inputs.average_attn_weights;
  request.masked_rows_are_nan =
      inputs.masked_row_policy == MaskedRowPolicy::kNaN ||
      (inputs.masked_row_policy == MaskedRowPolicy::kTorch &&
       inputs.need_weights && spec.masked_rows_are_nan_with_weights);
  request.weights_before_dropout = spec.weights_before_dropout;
  request.dropout = inputs.training ? spec.dropout : 0.0;
  request.dropout_seed = inputs.dropout_seed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RequestPlan>> ResolveRequest(
    const ModuleConfig& config, const AttentionInputs& inputs) {
  const ModuleSpec model = SpecOf(config);
  const AttentionSpec& spec = model.attention;
  ATTENTION_ASSIGN_OR_RETURN(const Layout layout, CheckInputs(model, inputs));
  auto request = std::make_unique<RequestPlan>();
  Describe(spec, layout, inputs, *request);
  SetMasks(spec, inputs, *request);
  ATTENTION_ASSIGN_OR_RETURN(request->shapes,
                             ShapesOf(spec, layout, inputs.query, *request));
  // Without query rows there is nothing to compute, however many sequences.
  if (layout.query_length > 0) AddSequences(spec, layout, inputs, *request);
  return request;
}

}  // namespace attention
