// SPDX-License-Identifier: Apache-2.0
#include "core/engine/make_layer.h"

#include "core/fused/fused_attention.h"
#include "core/fused/panel_linear.h"
#include "core/onednn/primitive_attention.h"
#include "core/onednn/primitive_linear.h"

namespace attention {

std::unique_ptr<const AttentionLayer> MakeAttentionLayer(
    const ComputePath& path, const AttentionSpec& spec,
    const AttentionWeights& weights) {
  if (path.kernels == KernelKind::kFused) {
    return std::make_unique<const FusedAttention>(
        FusedOptions{path.dtype, path.pass_bytes}, spec, weights);
  }
  return std::make_unique<const PrimitiveAttention>(spec, weights);
}

std::unique_ptr<const LinearLayer> MakeLinearLayer(
    const ComputePath& path, const LinearWeights& weights,
    std::optional<Activation> activation) {
  if (path.kernels == KernelKind::kFused) {
    WeightMemory memory(PanelLinear::PanelBytes(weights, path.dtype));
    return std::make_unique<const PanelLinear>(weights, path.dtype, activation,
                                               memory);
  }
  return std::make_unique<const PrimitiveLinear>(weights, activation);
}

}  // namespace attention
