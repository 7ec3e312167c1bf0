// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/linear_layer.h"

#include "core/onednn/panel_linear.h"
#include "core/onednn/projection.h"

namespace attention {

std::unique_ptr<const LinearLayer> MakeLinearLayer(
    const ComputePath& path, const LinearWeights& weights,
    std::optional<Activation> activation) {
  if (path.kernels == KernelKind::kUkernel) {
    return std::make_unique<const PanelLinear>(weights, path.dtype, activation);
  }
  return std::make_unique<const Projection>(weights, activation);
}

}  // namespace attention
