// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/attention/request_plan.h"

namespace attention {

/// How many of a sequence's score columns, from the first on, query position
/// `row` sees by causality and row lengths, all behind them being hidden. Not
/// for requests with appended columns that stay visible behind hidden ones.
[[nodiscard]] std::int64_t VisibleColumns(const Sequence& sequence,
                                          std::int64_t row);

/// The first of a sequence's visible keys whose scores for query position `row`
/// are replaced, where valid_lens replaces scores.
[[nodiscard]] std::int64_t FirstReplaced(const Sequence& sequence,
                                         std::int64_t row);

/// Whether a request has masks at all: whether M, below, can differ from 0.
[[nodiscard]] bool HasMasks(const RequestPlan& request);

/// Reads the masks of sequences' requests, merged, row by row.
///
/// The additive mask M [num_columns] of one query row is the sum of attn_mask
/// (bool: 0 or -inf), floating key_padding_mask, causality and row lengths, as
/// torch merges them; appended columns are 0 unless is_causal replaced
/// attn_mask. Source: torch/nn/functional.py, multi_head_attention_forward.
/// Real is float or double. Not thread-safe: one per thread. Lifetime: borrows
/// `line` to work in, of as many elements as the requests' max_key_length at
/// most.
template <typename Real>
class MaskReader {
 public:
  explicit MaskReader(std::span<Real> line) : line_(line) {}

  /// Write M of query position `row` into `mask` [sequence.num_columns()].
  void Read(const Sequence& sequence, std::int64_t head, std::int64_t row,
            Real* mask);

  /// Replace the scores [num_columns] of query position `row` that its length
  /// in valid_lens says to, before M is added.
  /// Source: d2l/torch.py, masked_softmax.
  static void Replace(const Sequence& sequence, std::int64_t row, Real* scores);

 private:
  // Add row `index` of `tensor`, viewed as (rows, last dimension).
  void AddTensorRow(const TensorView& tensor, std::int64_t index,
                    const Sequence& sequence, Real* mask);

  std::span<Real> line_;  // one row of a mask, padding included
};

}  // namespace attention
