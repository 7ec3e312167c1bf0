// SPDX-License-Identifier: Apache-2.0
#include "core/attention/check_inputs.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

absl::Status Invalid(std::string text) {
  return absl::InvalidArgumentError(std::move(text));
}

// Expected dimensions. Not a Shape: their product may exceed its bounds.
using Dims = std::vector<std::int64_t>;

absl::Status CheckDims(std::string_view name, const TensorView& tensor,
                       const Dims& expected, std::string_view notation) {
  if (std::ranges::equal(tensor.shape.dims(), expected)) {
    return absl::OkStatus();
  }
  std::string dims;
  for (const std::int64_t dim : expected) {
    dims += FormatText("{}{}", dims.empty() ? "" : ", ", dim);
  }
  return Invalid(FormatText("{}: expected shape ({}) = ({}), got {}", name,
                            notation, dims, tensor.shape.ToString()));
}

absl::Status CheckMaskDtype(std::string_view name,
                            const std::optional<TensorView>& mask) {
  if (!mask || mask->dtype == DataType::kBool || IsFloating(mask->dtype)) {
    return absl::OkStatus();
  }
  return Invalid(
      FormatText("{}: only bool and floating types are supported, got {}", name,
                 DataTypeName(mask->dtype)));
}

std::string_view RankText(std::size_t rank) {
  if (rank == 2) return "unbatched (2-D)";
  return rank == 3 ? "batched (3-D)" : "batched (4-D)";
}

// query, key and value have one rank, 2 or 3, and one floating dtype. Heads
// that are not projected may be apart: rank 4.
absl::Status CheckRanksAndDtypes(const AttentionSpec& spec,
                                 const AttentionInputs& inputs) {
  const TensorView& query = inputs.query;
  const std::size_t rank = query.shape.rank();
  const bool may_be_4d = !spec.input_projections;
  if (rank != 2 && rank != 3 && !(rank == 4 && may_be_4d)) {
    return Invalid(FormatText(
        "query: expected an unbatched 2-D or batched 3-D{} tensor, got a {}-D "
        "tensor of shape {}",
        may_be_4d ? " or 4-D" : "", rank, query.shape.ToString()));
  }
  if (!IsFloating(query.dtype)) {
    return Invalid(FormatText("query: expected a floating dtype, got {}",
                              DataTypeName(query.dtype)));
  }
  const auto check = [&](std::string_view name,
                         const std::optional<TensorView>& tensor) {
    if (tensor && tensor->shape.rank() != rank) {
      return Invalid(FormatText(
          "{}: expected a {}-D tensor as query is {}, got a {}-D tensor of "
          "shape {}",
          name, rank, RankText(rank), tensor->shape.rank(),
          tensor->shape.ToString()));
    }
    if (tensor && tensor->dtype != query.dtype) {
      return Invalid(FormatText("{}: expected query's dtype {}, got {}", name,
                                DataTypeName(query.dtype),
                                DataTypeName(tensor->dtype)));
    }
    return absl::OkStatus();
  };
  ATTENTION_RETURN_IF_ERROR(check("key", inputs.key));
  return check("value", inputs.value);
}

absl::Status CheckMaskRanks(const AttentionSpec& spec,
                            const AttentionInputs& inputs, bool batched) {
  const std::string_view kind = batched ? "batched" : "unbatched";
  const std::size_t padding_rank = batched ? 2 : 1;
  if (inputs.key_padding_mask &&
      inputs.key_padding_mask->shape.rank() != padding_rank) {
    return Invalid(FormatText(
        "key_padding_mask: expected a {}-D tensor for a {} query, got shape {}",
        padding_rank, kind, inputs.key_padding_mask->shape.ToString()));
  }
  const bool may_be_4d = !spec.input_projections;
  if (inputs.attn_mask && inputs.attn_mask->shape.rank() != 2 &&
      inputs.attn_mask->shape.rank() != 3 &&
      !(may_be_4d && inputs.attn_mask->shape.rank() == 4)) {
    return Invalid(FormatText(
        "attn_mask: expected a 2-D{} tensor for a {} query, got shape {}",
        may_be_4d ? ", 3-D or 4-D" : " or 3-D", kind,
        inputs.attn_mask->shape.ToString()));
  }
  return absl::OkStatus();
}

absl::Status CheckIsCausal(const AttentionSpec& spec,
                           const AttentionInputs& inputs) {
  if (!inputs.is_causal) return absl::OkStatus();
  switch (spec.is_causal) {
    case IsCausal::kHint:
      if (inputs.attn_mask) return absl::OkStatus();
      return Invalid(
          "is_causal: expected attn_mask to be given with the is_causal hint, "
          "got none; `causal` masks without one");
    case IsCausal::kMask:
      if (!inputs.attn_mask && inputs.causal == Causal::kNone) {
        return absl::OkStatus();
      }
      return Invalid(
          "is_causal: expected neither attn_mask nor causal beside it, got "
          "one");
    case IsCausal::kRefused:
      break;
  }
  return Invalid(
      "is_causal: expected false, as the module has no such parameter, got "
      "true; `causal` masks");
}

// The last dimension of query, key and value.
absl::Status CheckWidths(const AttentionSpec& spec,
                         const AttentionInputs& inputs) {
  const TensorView& key = inputs.key.value_or(inputs.query);
  const TensorView& value = inputs.value.value_or(key);
  const auto check = [](std::string_view name, const TensorView& tensor,
                        std::string_view what, std::int64_t width) {
    if (tensor.shape.back() == width) return absl::OkStatus();
    return Invalid(FormatText(
        "{}: expected {} {} as last dimension, got {} of shape {}", name, what,
        width, tensor.shape.back(), tensor.shape.ToString()));
  };
  ATTENTION_RETURN_IF_ERROR(
      check("query", inputs.query, spec.width_names[0], spec.query_dim));
  ATTENTION_RETURN_IF_ERROR(check(inputs.key ? "key" : "key (= query)", key,
                                  spec.width_names[1], spec.key_dim));
  return check(inputs.value ? "value" : "value (= key)", value,
               spec.width_names[2], spec.value_dim);
}

// The head and last dimensions of 4-D query, key and value.
absl::Status CheckHeads(const AttentionSpec& spec,
                        const AttentionInputs& inputs) {
  const TensorView& key = inputs.key.value_or(inputs.query);
  const TensorView& value = inputs.value.value_or(key);
  const auto check = [](std::string_view name, const Shape& shape,
                        std::int64_t num_heads, std::int64_t head_dim) {
    if (shape.dim(1) == num_heads && shape.dim(3) == head_dim) {
      return absl::OkStatus();
    }
    return Invalid(FormatText(
        "{}: expected {} heads of size {}, (N, {}, length, {}), "
        "got shape {}",
        name, num_heads, head_dim, num_heads, head_dim, shape.ToString()));
  };
  ATTENTION_RETURN_IF_ERROR(
      check("query", inputs.query.shape, spec.num_heads, spec.head_dim));
  ATTENTION_RETURN_IF_ERROR(check(inputs.key ? "key" : "key (= query)",
                                  key.shape, spec.num_key_value_heads,
                                  spec.head_dim));
  return check(inputs.value ? "value" : "value (= key)", value.shape,
               spec.num_key_value_heads, spec.value_head_dim);
}

// An encoder layer takes one input and gives one output.
absl::Status CheckEncoder(const AttentionInputs& inputs) {
  if (inputs.key || inputs.value) {
    return Invalid(FormatText(
        "{}: expected none, as an encoder's query attends to itself, got one",
        inputs.key ? "key" : "value"));
  }
  if (!inputs.key_lengths.empty()) {
    return Invalid(
        "key_lengths: expected none, as an encoder's query attends to itself, "
        "got some");
  }
  if (inputs.need_weights) {
    return Invalid(
        "need_weights: expected false, as an encoder returns no weights, got "
        "true");
  }
  return absl::OkStatus();
}

// value has key's sequence and batch dimensions.
absl::Status CheckKeyAgainstValue(const AttentionInputs& inputs) {
  const TensorView& key = inputs.key.value_or(inputs.query);
  const TensorView& value = inputs.value.value_or(key);
  const auto key_dims = key.shape.dims();
  const auto value_dims = value.shape.dims();
  if (std::ranges::equal(key_dims.first(key_dims.size() - 1),
                         value_dims.first(value_dims.size() - 1))) {
    return absl::OkStatus();
  }
  return Invalid(FormatText(
      "value: expected key's sequence and batch dimensions {}, got {}",
      key.shape.ToString(), value.shape.ToString()));
}

absl::Status CheckLengths(std::string_view name,
                          const std::vector<std::int64_t>& lengths,
                          std::int64_t rows) {
  std::int64_t sum = 0;
  for (std::size_t n = 0; n < lengths.size(); ++n) {
    if (lengths[n] < 0 || lengths[n] > rows - sum) {
      return Invalid(
          FormatText("{}[{}]: expected 0 to {} (rows left of {}), got {}", name,
                     n, rows - sum, rows, lengths[n]));
    }
    sum += lengths[n];
  }
  if (sum != rows) {
    return Invalid(
        FormatText("{}: expected a sum of {} rows, got {}", name, rows, sum));
  }
  return absl::OkStatus();
}

absl::StatusOr<Layout> RaggedLayout(const AttentionInputs& inputs) {
  const TensorView& key = inputs.key.value_or(inputs.query);
  if (inputs.query.shape.rank() != 2) {
    return Invalid(FormatText(
        "query: expected packed rows (2-D) with query_lengths, got shape {}",
        inputs.query.shape.ToString()));
  }
  if (inputs.query_lengths.empty()) {
    return Invalid(
        "query_lengths: expected one length for each sequence as key_lengths "
        "are given, got none");
  }
  if (inputs.key && inputs.key_lengths.empty()) {
    return Invalid(
        "key_lengths: expected one length for each sequence as query_lengths "
        "and key are given, got none");
  }
  const std::vector<std::int64_t>& key_lengths =
      inputs.key_lengths.empty() ? inputs.query_lengths : inputs.key_lengths;
  if (key_lengths.size() != inputs.query_lengths.size()) {
    return Invalid(FormatText(
        "key_lengths: expected {} lengths, as many as query_lengths, got {}",
        inputs.query_lengths.size(), key_lengths.size()));
  }
  ATTENTION_RETURN_IF_ERROR(CheckLengths("query_lengths", inputs.query_lengths,
                                         inputs.query.shape.dim(0)));
  ATTENTION_RETURN_IF_ERROR(
      CheckLengths("key_lengths", key_lengths, key.shape.dim(0)));
  Layout layout;
  layout.batched = true;
  layout.ragged = true;
  layout.batch_size = static_cast<std::int64_t>(inputs.query_lengths.size());
  layout.query_length = std::ranges::max(inputs.query_lengths);
  layout.key_length = std::ranges::max(key_lengths);
  return layout;
}

absl::StatusOr<Layout> DenseLayout(const AttentionSpec& spec,
                                   const AttentionInputs& inputs) {
  const Shape& query = inputs.query.shape;
  const Shape& key = inputs.key.value_or(inputs.query).shape;
  Layout layout;
  layout.batched = query.rank() >= 3;
  layout.heads_apart = query.rank() == 4;
  layout.sequence_first = layout.batched && !spec.batch_first;
  const std::size_t batched_axis = layout.heads_apart ? 2 : 1;
  const std::size_t length_axis =
      layout.batched && spec.batch_first ? batched_axis : 0;
  layout.query_length = query.dim(length_axis);
  layout.key_length = key.dim(length_axis);
  if (!layout.batched) return layout;
  const std::size_t batch_axis = spec.batch_first ? 0 : 1;
  layout.batch_size = query.dim(batch_axis);
  if (key.dim(batch_axis) != layout.batch_size) {
    return Invalid(
        FormatText("key: expected query's batch size {}, got {} in shape {}",
                   layout.batch_size, key.dim(batch_axis), key.ToString()));
  }
  return layout;
}

// (N or 1, H or 1, L or 1, S)
absl::Status CheckBroadcastMask(const Shape& mask, const Dims& full) {
  bool fits = mask.dim(3) == full[3];
  for (std::size_t axis = 0; axis < 3; ++axis) {
    fits = fits && (mask.dim(axis) == full[axis] || mask.dim(axis) == 1);
  }
  if (fits) return absl::OkStatus();
  return Invalid(FormatText(
      "attn_mask: expected shape (N or 1, H or 1, L or 1, S) with N={}, H={}, "
      "L={} and S={}, got {}",
      full[0], full[1], full[2], full[3], mask.ToString()));
}

absl::Status CheckAttentionMask(const AttentionSpec& spec,
                                const TensorView& mask, const Layout& layout) {
  const std::int64_t length = layout.query_length;
  switch (mask.shape.rank()) {
    case 2:
      return CheckDims("attn_mask", mask, {length, layout.key_length}, "L, S");
    case 3:
      return CheckDims(
          "attn_mask", mask,
          {layout.batch_size * spec.num_heads, length, layout.key_length},
          "N*H, L, S");
    default:
      return CheckBroadcastMask(mask.shape, {layout.batch_size, spec.num_heads,
                                             length, layout.key_length});
  }
}

absl::Status CheckMaskShapes(const AttentionSpec& spec,
                             const AttentionInputs& inputs,
                             const Layout& layout) {
  // torch discards attn_mask, unseen, in this one case.
  const bool discarded =
      inputs.is_causal && spec.is_causal == IsCausal::kHint &&
      !inputs.key_padding_mask && !inputs.valid_lens && !inputs.need_weights &&
      (layout.batched || inputs.attn_mask->shape.rank() == 2);
  if (inputs.attn_mask && !discarded) {
    ATTENTION_RETURN_IF_ERROR(
        CheckAttentionMask(spec, *inputs.attn_mask, layout));
  }
  if (!inputs.key_padding_mask) return absl::OkStatus();
  const Dims batched = {layout.batch_size, layout.key_length};
  return CheckDims("key_padding_mask", *inputs.key_padding_mask,
                   layout.batched ? batched : Dims{layout.key_length},
                   layout.batched ? "N, S" : "S");
}

absl::Status CheckValidLens(const AttentionInputs& inputs,
                            const Layout& layout) {
  if (!inputs.valid_lens) return absl::OkStatus();
  const TensorView& lens = *inputs.valid_lens;
  if (lens.dtype != DataType::kInt32 && lens.dtype != DataType::kInt64) {
    return Invalid(FormatText("valid_lens: expected int32 or int64, got {}",
                              DataTypeName(lens.dtype)));
  }
  const bool per_row = lens.shape.rank() == 2;
  return CheckDims("valid_lens", lens,
                   per_row ? Dims{layout.batch_size, layout.query_length}
                           : Dims{layout.batch_size},
                   per_row ? "N, L" : "N");
}

}  // namespace

absl::StatusOr<Layout> CheckInputs(const ModuleSpec& model,
                                   const AttentionInputs& inputs) {
  const AttentionSpec& spec = model.attention;
  ATTENTION_RETURN_IF_ERROR(
      CheckMaskDtype("key_padding_mask", inputs.key_padding_mask));
  ATTENTION_RETURN_IF_ERROR(CheckMaskDtype("attn_mask", inputs.attn_mask));
  if (model.encoder) ATTENTION_RETURN_IF_ERROR(CheckEncoder(inputs));
  ATTENTION_RETURN_IF_ERROR(CheckRanksAndDtypes(spec, inputs));
  const bool ragged =
      !inputs.query_lengths.empty() || !inputs.key_lengths.empty();
  ATTENTION_RETURN_IF_ERROR(
      CheckMaskRanks(spec, inputs, ragged || inputs.query.shape.rank() >= 3));
  ATTENTION_RETURN_IF_ERROR(CheckIsCausal(spec, inputs));
  ATTENTION_RETURN_IF_ERROR(inputs.query.shape.rank() == 4
                                ? CheckHeads(spec, inputs)
                                : CheckWidths(spec, inputs));
  ATTENTION_RETURN_IF_ERROR(CheckKeyAgainstValue(inputs));
  ATTENTION_ASSIGN_OR_RETURN(
      const Layout layout,
      ragged ? RaggedLayout(inputs) : DenseLayout(spec, inputs));
  if (layout.batch_size > Layout::kMaxBatchSize) {
    return Invalid(FormatText("query: expected a batch of at most {}, got {}",
                              Layout::kMaxBatchSize, layout.batch_size));
  }
  ATTENTION_RETURN_IF_ERROR(CheckMaskShapes(spec, inputs, layout));
  ATTENTION_RETURN_IF_ERROR(CheckValidLens(inputs, layout));
  return layout;
}

}  // namespace attention
