// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "core/attention/module_spec.h"
#include "core/attention/packed_batch.h"
#include "core/attention/request.h"
#include "core/attention/weights.h"
#include "core/parallel/compute_pool.h"

namespace attention {

/// Compute attention in double, row by row: the definition of what is right.
/// \return CANCELLED when the pool was asked to stop. Throws std::bad_alloc.
[[nodiscard]] absl::Status ComputeReferenceAttention(
    const AttentionSpec& spec, const AttentionWeights& weights,
    const PackedBatch& batch, const AttentionOutputs& outputs,
    const ComputePool& pool);

/// Upper bound, in bytes, of what ComputeReferenceAttention allocates, beside
/// the weights in double.
[[nodiscard]] std::size_t ReferenceAttentionBytes(const AttentionSpec& spec,
                                                  const PackedBatch& batch);

}  // namespace attention
