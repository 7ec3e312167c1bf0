// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/attention_layer.h"

#include "core/onednn/fused_attention.h"
#include "core/onednn/onednn_attention.h"

namespace attention {

std::unique_ptr<const AttentionLayer> MakeAttentionLayer(
    const ComputePath& path, const AttentionSpec& spec,
    const AttentionWeights& weights) {
  if (path.kernels == KernelKind::kFused) {
    return std::make_unique<const FusedAttention>(path, spec, weights);
  }
  return std::make_unique<const OneDnnAttention>(spec, weights);
}

}  // namespace attention
