// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/row_norm.h"

#include <algorithm>

#include "core/onednn/projection.h"
#include "core/onednn/round_up.h"
#include "core/tensor/tensor.h"

namespace attention {
namespace {

constexpr std::int64_t kManyRows = 16;

}  // namespace

RowNorm::RowNorm(const NormWeights& weights, double epsilon)
    : width_(weights.weight.shape().dim(0)),
      weight_(ToFloats(weights.weight)),
      bias_(ToFloats(weights.bias)),
      many_({kManyRows, width_}, static_cast<float>(epsilon), !bias_.empty()),
      one_({1, width_}, static_cast<float>(epsilon), !bias_.empty()),
      scratch_bytes_(
          RoundUp(std::max(many_.scratchpad_bytes(), one_.scratchpad_bytes()),
                  kTensorAlignment)) {}

void RowNorm::Compute(const float* from, float* to, std::int64_t count,
                      std::byte* scratch) const {
  while (count > 0) {
    const bool many = count >= kManyRows;
    (many ? many_ : one_)
        .Execute({.src = from,
                  .dst = to,
                  .scale = weight_.data(),
                  .shift = bias_.empty() ? nullptr : bias_.data(),
                  .scratchpad = scratch});
    const std::int64_t step = many ? kManyRows : 1;
    from += step * width_;
    to += step * width_;
    count -= step;
  }
}

}  // namespace attention
