// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/compute_path.h"

#include "core/onednn/attention_layer.h"
#include "core/onednn/brgemm.h"
#include "core/onednn/fused_attention.h"
#include "core/onednn/linear_layer.h"
#include "core/onednn/onednn_attention.h"
#include "core/onednn/panel_linear.h"
#include "core/onednn/projection.h"

namespace attention {

ComputePath BestComputePath(DataType dtype) {
  for (const DataType type : {dtype, DataType::kFloat32}) {
    if (Brgemm::IsAvailable(type)) return {KernelKind::kUkernel, type};
  }
  return {};
}

std::unique_ptr<const AttentionLayer> MakeAttentionLayer(
    const ComputePath& path, const AttentionSpec& spec,
    const AttentionWeights& weights) {
  if (path.kernels == KernelKind::kUkernel) {
    return std::make_unique<const FusedAttention>(spec, path.dtype, weights);
  }
  return std::make_unique<const OneDnnAttention>(spec, weights);
}

std::unique_ptr<const LinearLayer> MakeLinearLayer(
    const ComputePath& path, const LinearWeights& weights,
    std::optional<Activation> activation) {
  if (path.kernels == KernelKind::kUkernel) {
    return std::make_unique<const PanelLinear>(weights, path.dtype, activation);
  }
  return std::make_unique<const Projection>(weights, activation);
}

}  // namespace attention
