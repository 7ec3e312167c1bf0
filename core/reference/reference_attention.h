// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/attention/module_spec.h"
#include "core/attention/request_plan.h"
#include "core/attention/weights.h"

namespace attention {

/// Compute sequences' attention in double, row by row, as layer `layer` of a
/// stack: the definition of what is right. Leaves the sequences of requests
/// that are stopped unfinished. Throws std::bad_alloc.
void ComputeReferenceAttention(const AttentionSpec& spec,
                               const AttentionWeights& weights,
                               std::span<const Sequence> sequences,
                               std::uint32_t layer);

/// Upper bound, in bytes, of what ComputeReferenceAttention allocates, beside
/// the weights in double.
[[nodiscard]] std::size_t ReferenceAttentionBytes(
    const AttentionSpec& spec, std::span<const Sequence> sequences);

}  // namespace attention
