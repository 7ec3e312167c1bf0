// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/request.h"
#include "core/attention/rows.h"
#include "core/tensor/tensor.h"

namespace attention {

// core/attention: what is to be computed, and nothing that computes: configs,
// weights by name, a request's inputs, their checks, and the plan of sequences
// that every implementation reads; masks, dropout and the interfaces of layers
// and implementations. Uses core/parallel and what lies below.

struct RequestPlan;

/// One sequence to compute: its rows, and the request whose masks, policies and
/// outputs they fall under.
///
/// Batched, sequence-first, ragged and padded inputs all become sequences, and
/// a pass computes any of them together, of one request or of many. Keys that
/// are padding are left out. Copied freely: an encoder's layers compute copies
/// whose rows are its own. Lifetime: borrows the request and the rows.
struct Sequence {
  const RequestPlan* request = nullptr;
  std::int64_t index = 0;  ///< n, its place in the request
  std::int64_t query_length = 0;
  std::int64_t key_length = 0;   ///< S of this sequence, padding included
  std::int64_t num_visible = 0;  ///< keys that are not padding
  /// Their positions in [0, key_length), ascending; empty when they are the
  /// first num_visible.
  std::span<const std::int32_t> visible_keys;
  std::int64_t appended_keys = 0;  ///< rows behind them: bias_k, then zeros

  Rows query;          ///< [query_length]
  Rows key;            ///< [key_length]
  Rows value;          ///< [key_length]
  MutableRows output;  ///< [query_length]; known once the request is bound

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

/// How the tokens of a request's tensor lie in it.
struct TokenLayout {
  bool sequence_first = false;  ///< (L, N, E)
  bool heads_apart = false;     ///< (N, H, L, D)
  std::int64_t batch_size = 1;  ///< N
  std::int64_t num_heads = 1;   ///< H, of this tensor
  std::int64_t length = 0;      ///< L, of this tensor
};

/// A validated request: what to compute, with every default applied.
///
/// Made by ResolveRequest, bound to its outputs once, right before a pass, and
/// immutable from then on, so thread-safe. Does not move: its sequences point
/// to it. Lifetime: borrows the tensors of the AttentionInputs it came from,
/// and its outputs.
struct RequestPlan {
  RequestPlan() = default;
  RequestPlan(const RequestPlan&) = delete;
  RequestPlan& operator=(const RequestPlan&) = delete;

  std::vector<Sequence> sequences;

  DataType dtype = DataType::kFloat32;  ///< of queries, keys, values, outputs
  TokenLayout query_layout;             ///< of the query and of the output
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

  OutputShapes shapes;
  /// Where the weights go, if they are wanted; known once it is bound.
  MutableTensorView weights;

  /// The sequences' visible_keys, of those that have holes.
  std::vector<std::vector<std::int32_t>> visible_keys;

  /// Say where the outputs go, which have `shapes` and `dtype`, and how to find
  /// out whether they are still wanted: `stop`, thread-safe and quick, returns
  /// true once they are not; empty: always wanted. Not during a pass.
  void Bind(const AttentionOutputs& outputs, std::function<bool()> stop = {});

  /// Whether to leave the request unfinished: asks `stop` until that says so
  /// for the first time. Thread-safe.
  [[nodiscard]] bool StopRequested() const;
  /// Whether that has been found out, and the outputs are undefined.
  [[nodiscard]] bool was_stopped() const { return stopped_.load(); }

  /// Whether the weights are wanted, averaged over the heads.
  [[nodiscard]] bool averages_weights() const {
    return need_weights && average_attn_weights;
  }
  /// Whether they are wanted as they are before dropout, or behind it.
  [[nodiscard]] bool wants_weights_before_dropout() const {
    return need_weights && weights_before_dropout;
  }
  [[nodiscard]] bool wants_weights_after_dropout() const {
    return need_weights && !weights_before_dropout;
  }

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
  /// Row of the weights viewed as (rows, S') that holds those of query position
  /// `row` of a sequence: for a head, or, averaged, for all.
  [[nodiscard]] std::int64_t weight_row(const Sequence& sequence,
                                        std::int64_t head,
                                        std::int64_t row) const {
    const std::int64_t matrix = average_attn_weights
                                    ? sequence.index
                                    : sequence.index * num_heads + head;
    return matrix * max_query_length + row;
  }
  /// The first byte of that row.
  [[nodiscard]] std::byte* weight_data(const Sequence& sequence,
                                       std::int64_t head,
                                       std::int64_t row) const {
    return weights.data +
           static_cast<std::size_t>(weight_row(sequence, head, row) *
                                    weight_columns()) *
               DataTypeSize(weights.dtype);
  }

  /// What it takes in memory beside the tensors.
  [[nodiscard]] std::size_t memory_bytes() const;

 private:
  std::function<bool()> stop_;
  mutable std::atomic<bool> stopped_{false};
};

/// Validate inputs against a module and lay them out as sequences.
///
/// Follows the order and meaning of torch's checks for every kind
/// (torch/nn/functional.py, _mha_shape_check and
/// multi_head_attention_forward, 2.6).
/// \return INVALID_ARGUMENT saying what, got, expected and where.
/// Thread-safe.
[[nodiscard]] absl::StatusOr<std::unique_ptr<RequestPlan>> ResolveRequest(
    const ModuleConfig& config, const AttentionInputs& inputs);

/// Rows that queries have together.
[[nodiscard]] std::int64_t NumQueryRows(std::span<const Sequence> sequences);

/// Write copies of self-attending sequences to `placed`: the queries, which are
/// keys and values too, are the rows of `from`, one sequence's behind the
/// other's, and the outputs those of `to`.
void PlaceSequences(std::span<const Sequence> sequences, Rows from,
                    MutableRows to, std::span<Sequence> placed);

/// Set the weights of what a ragged sequence lacks to the longest one's length
/// to zero, where weights are wanted.
void ZeroMissingWeights(const Sequence& sequence);

}  // namespace attention
