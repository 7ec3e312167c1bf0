// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/tensor/tensor.h"

namespace attention {

/// Structural causal mask over the original S keys.
enum class Causal : std::uint8_t {
  kNone,
  kTopLeft,      ///< query i sees key j where j <= i
  kBottomRight,  ///< query i sees key j where j <= i + S - L
};

/// What a query row that sees no key yields.
enum class MaskedRowPolicy : std::uint8_t {
  kTorch,  ///< kNaN when weights are wanted, else kZero (PyTorch >= 2.5)
  kZero,   ///< zero weights and context
  kNaN,    ///< NaN weights and context
};

/// Inputs of one forward pass, as a caller gives them; not yet validated.
/// Notation: N batch, L query length, S key length, E embed_dim, H num_heads.
/// Lifetime: borrows every tensor.
struct AttentionInputs {
  /// (L, E), (L, N, E), (N, L, E) if batch_first, or packed rows (T, E).
  TensorView query;
  std::optional<TensorView> key;    ///< like query, width kdim; default query
  std::optional<TensorView> value;  ///< like key, width vdim; default key

  /// (L, S) or (N*H, L, S); bool: true is masked; floating: added.
  std::optional<TensorView> attn_mask;
  /// (N, S) or (S); bool: true is padding; floating: added, -inf is padding.
  std::optional<TensorView> key_padding_mask;
  /// (N) or (N, L), int32 or int64; key j is padding where j >= valid_lens.
  std::optional<TensorView> valid_lens;
  Causal causal = Causal::kNone;
  bool is_causal = false;  ///< torch's hint

  bool need_weights = true;
  bool average_attn_weights = true;
  MaskedRowPolicy masked_row_policy = MaskedRowPolicy::kTorch;

  bool training = false;  ///< apply the module's dropout
  std::uint64_t dropout_seed = 0;

  /// Lengths of the sequences of a ragged batch; empty: not ragged.
  std::vector<std::int64_t> query_lengths;
  std::vector<std::int64_t> key_lengths;
};

/// Shapes a forward pass will write, known before anything is computed.
struct OutputShapes {
  Shape output;                  ///< query's, last dimension E
  std::optional<Shape> weights;  ///< (N, [H,] L, S') or ([H,] L, S')
};

/// Where a forward pass writes. Lifetime: borrows. dtypes are the query's.
struct AttentionOutputs {
  MutableTensorView output;
  std::optional<MutableTensorView> weights;
};

}  // namespace attention
