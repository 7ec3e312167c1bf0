// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "core/attention/layer.h"
#include "core/attention/module_spec.h"
#include "core/attention/weights.h"
#include "core/engine/compute_path.h"

namespace attention {

/// Make an attention layer. Throws dnnl::error, std::bad_alloc.
[[nodiscard]] std::unique_ptr<const AttentionLayer> MakeAttentionLayer(
    const ComputePath& path, const AttentionSpec& spec,
    const AttentionWeights& weights);

/// Make a linear layer. Throws dnnl::error, std::bad_alloc.
[[nodiscard]] std::unique_ptr<const LinearLayer> MakeLinearLayer(
    const ComputePath& path, const LinearWeights& weights,
    std::optional<Activation> activation);

}  // namespace attention
