// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/attention/packed_batch.h"

namespace attention {

/// Reads a request's masks, merged, row by row.
///
/// The additive mask M [num_columns] of one query row is the sum of attn_mask
/// (bool: 0 or -inf), floating key_padding_mask, causality and row lengths, as
/// torch merges them; appended columns are 0 unless is_causal replaced
/// attn_mask. Source: torch/nn/functional.py, multi_head_attention_forward.
/// Real is float or double. Not thread-safe: one per thread. Lifetime: borrows
/// the batch.
template <typename Real>
class MaskReader {
 public:
  explicit MaskReader(const PackedBatch& batch) : batch_(batch) {}

  /// Whether M can differ from 0 anywhere.
  [[nodiscard]] bool any() const;

  /// Write M of query position `row` into `mask` [sequence.num_columns()].
  void Read(const Sequence& sequence, std::int64_t head, std::int64_t row,
            Real* mask);

  /// Replace the scores [num_columns] of query position `row` that its length
  /// in valid_lens says to, before M is added.
  /// Source: d2l/torch.py, masked_softmax.
  void Replace(const Sequence& sequence, std::int64_t row, Real* scores) const;

 private:
  // Add row `index` of `tensor`, viewed as (rows, last dimension).
  void AddTensorRow(const TensorView& tensor, std::int64_t index,
                    const Sequence& sequence, Real* mask);

  const PackedBatch& batch_;
  std::vector<Real> row_;  // one row of a mask, padding included
};

}  // namespace attention
