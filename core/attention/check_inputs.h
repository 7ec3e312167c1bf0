// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/attention/module_spec.h"
#include "core/attention/request.h"

namespace attention {

/// How the rows of a request's tensors form sequences.
struct Layout {
  bool batched = false;           ///< 3-D, 4-D, or ragged
  bool heads_apart = false;       ///< (N, H, L, D)
  bool ragged = false;            ///< packed rows with lengths
  bool sequence_first = false;    ///< (L, N, E)
  std::int64_t batch_size = 1;    ///< N
  std::int64_t query_length = 0;  ///< L, of the longest sequence
  std::int64_t key_length = 0;    ///< S, of the longest sequence

  /// Largest N: bounds what is kept for the sequences of a request, however few
  /// bytes they took on the wire.
  static constexpr std::int64_t kMaxBatchSize = std::int64_t{1} << 16;
};

/// Check that inputs fit each other and the module, in torch's order.
/// \return the layout, or INVALID_ARGUMENT saying what, got, expected and
/// where. Source: torch/nn/functional.py (2.6), _mha_shape_check and
/// multi_head_attention_forward. Thread-safe.
[[nodiscard]] absl::StatusOr<Layout> CheckInputs(const ModuleSpec& model,
                                                 const AttentionInputs& inputs);

}  // namespace attention
