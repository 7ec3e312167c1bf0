// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "core/attention/multi_head_attention.h"

namespace attention {

/// Make the oneDNN implementation: matmul and softmax primitives in float32
/// over weights packed once.
///
/// Weights and tensors may be float32, bfloat16 or float16; 16-bit values are
/// widened on reading and results rounded once on writing.
/// \return INVALID_ARGUMENT for float64 weights, INTERNAL when oneDNN fails.
[[nodiscard]] absl::StatusOr<std::unique_ptr<MultiHeadAttention>>
MakeOneDnnAttention(const MultiHeadAttentionConfig& config,
                    const AttentionWeights& weights);

}  // namespace attention
