// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/head_rows.h"
#include "core/attention/request.h"
#include "core/tensor/tensor.h"

namespace attention {

/// One sequence of a packed batch: rows of the request's tensors, by index.
///
/// Batched, sequence-first, ragged and padded inputs all become lists of
/// these. Keys that are padding are left out.
struct Sequence {
  std::int64_t index = 0;  ///< n, its place in the request
  std::int64_t query_length = 0;
  /// Row i of the sequence is row first_query_row + i * query_row_step of the
  /// query viewed as (rows, width).
  std::int64_t first_query_row = 0;
  std::int64_t query_row_step = 1;
  std::int64_t key_length = 0;  ///< S of this sequence, padding included
  std::int64_t first_key_row = 0;
  std::int64_t key_row_step = 1;
  std::int64_t num_visible = 0;  ///< keys that are not padding
  /// Their positions in [0, key_length), ascending; empty when they are the
  /// first num_visible.
  std::vector<std::int32_t> visible_keys;
  std::int64_t appended_keys = 0;  ///< rows behind them: bias_k, then zeros

  /// Position of visible key k in [0, num_visible).
  [[nodiscard]] std::int64_t visible_key(std::int64_t k) const {
    return visible_keys.empty() ? k : visible_keys[static_cast<std::size_t>(k)];
  }
  /// Columns of the sequence's scores: its visible and its appended keys.
  [[nodiscard]] std::int64_t num_columns() const {
    return num_visible + appended_keys;
  }
  /// Position of score column k among the key_length + appended_keys columns
  /// the sequence has with its padding.
  [[nodiscard]] std::int64_t column(std::int64_t k) const {
    return k < num_visible ? visible_key(k) : key_length + (k - num_visible);
  }
  [[nodiscard]] std::int64_t query_row(std::int64_t i) const {
    return first_query_row + i * query_row_step;
  }
  [[nodiscard]] std::int64_t key_row(std::int64_t j) const {
    return first_key_row + j * key_row_step;
  }
};

/// How rows of attn_mask belong to rows of scores: that of sequence n, head h
/// and query position i is row n * sequence + h * head + i * row of the mask
/// viewed as (rows, S).
struct MaskSteps {
  std::int64_t sequence = 0;
  std::int64_t head = 0;
  std::int64_t row = 1;

  [[nodiscard]] std::int64_t RowOf(std::int64_t sequence_index,
                                   std::int64_t head_index,
                                   std::int64_t row_index) const {
    return sequence_index * sequence + head_index * head + row_index * row;
  }
};

/// A validated request: what to compute, with every default applied.
/// Lifetime: borrows the tensors of the AttentionInputs it came from.
/// Made by ResolveRequest; immutable afterwards, so thread-safe.
struct PackedBatch {
  TensorView query;
  TensorView key;
  TensorView value;
  std::vector<Sequence> sequences;

  /// How their heads lie, and those of the output, as query's.
  HeadRows query_heads;
  HeadRows key_heads;

  std::int64_t num_heads = 0;
  std::int64_t max_query_length = 0;  ///< L of masks and weights
  std::int64_t max_key_length = 0;    ///< S of masks and weights
  std::int64_t appended_keys = 0;     ///< columns behind S, for each sequence

  std::optional<TensorView> attn_mask;
  MaskSteps attn_mask_steps;
  std::optional<TensorView> key_padding_mask;  ///< floating (N, S) only
  /// (N, L), of keys to hide; or (N) or (N, L), of scores to replace.
  std::optional<TensorView> row_valid_lens;
  bool replaces_scores = false;
  Causal causal = Causal::kNone;
  /// torch's is_causal shortcut: top-left over all S' columns.
  bool causal_over_appended = false;

  bool need_weights = false;
  bool average_attn_weights = true;
  /// Whether a row that sees none of its S' > 0 columns yields NaN or zeros.
  bool masked_rows_are_nan = false;
  bool weights_before_dropout = false;  ///< those that are returned
  double dropout = 0.0;                 ///< 0 unless training
  std::uint64_t dropout_seed = 0;
  std::uint32_t layer = 0;  ///< which of a stack's this is, for dropout

  OutputShapes shapes;

  /// S', columns of the weights.
  [[nodiscard]] std::int64_t weight_columns() const {
    return max_key_length + appended_keys;
  }
  /// Column of the weights that holds score column k of a sequence.
  [[nodiscard]] std::int64_t weight_column(const Sequence& sequence,
                                           std::int64_t k) const {
    const std::int64_t column = sequence.column(k);
    return column < sequence.key_length
               ? column
               : column - sequence.key_length + max_key_length;
  }
};

/// What the sequences of a batch take in memory, which is what a copy takes.
[[nodiscard]] std::size_t CopyBytes(const PackedBatch& batch);

/// Validate inputs against a module and lay them out as sequences.
///
/// Follows the order and meaning of torch's checks for every kind
/// (torch/nn/functional.py, _mha_shape_check and
/// multi_head_attention_forward, 2.6).
/// \return INVALID_ARGUMENT saying what, got, expected and where.
/// Thread-safe.
[[nodiscard]] absl::StatusOr<PackedBatch> ResolveRequest(
    const ModuleConfig& config, const AttentionInputs& inputs);

}  // namespace attention
