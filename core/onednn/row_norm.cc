// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/row_norm.h"

#include <algorithm>
#include <tuple>

#include "core/onednn/primitives.h"
#include "core/onednn/shared_kernels.h"
#include "core/tensor/floats.h"
#include "core/tensor/round_up.h"
#include "core/tensor/tensor.h"

namespace attention {
namespace {

constexpr std::int64_t kManyRows = 16;

}  // namespace

struct RowNorm::Kernels {
  Primitive many;  // of kManyRows rows
  Primitive one;
};

RowNorm::RowNorm(const NormWeights& weights, double epsilon)
    : width_(weights.weight.shape().dim(0)),
      weight_(ToFloats(weights.weight)),
      bias_(ToFloats(weights.bias)) {
  using Key = std::tuple<std::int64_t, float, bool>;
  static SharedKernels<Key, Kernels> shared;
  const Key key = {width_, static_cast<float>(epsilon), !bias_.empty()};
  kernels_ = shared.Get(key, [&] {
    const auto& [width, eps, has_bias] = key;
    return Kernels{.many = MakeLayerNorm({kManyRows, width}, eps, has_bias),
                   .one = MakeLayerNorm({1, width}, eps, has_bias)};
  });
  scratch_bytes_ = RoundUp(std::max(kernels_->many.scratchpad_bytes(),
                                    kernels_->one.scratchpad_bytes()),
                           kTensorAlignment);
}

NormWeights RowNorm::Unpack() const {
  return {*ToTensor(weight_), ToTensor(bias_)};
}

void RowNorm::Compute(const float* from, float* to, std::int64_t count,
                      std::byte* scratch) const {
  while (count > 0) {
    const bool many = count >= kManyRows;
    (many ? kernels_->many : kernels_->one)
        .Execute({{DNNL_ARG_SRC, from},
                  {DNNL_ARG_DST, to},
                  {DNNL_ARG_SCALE, weight_.data()},
                  {DNNL_ARG_SHIFT, bias_.empty() ? nullptr : bias_.data()}},
                 scratch);
    const std::int64_t step = many ? kManyRows : 1;
    from += step * width_;
    to += step * width_;
    count -= step;
  }
}

}  // namespace attention
