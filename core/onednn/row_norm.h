// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/attention/weights.h"
#include "core/onednn/kernel.h"

namespace attention {

/// Layer normalisation of rows [count, width], float32; a row's bits do not
/// depend on the rows beside it. Immutable and thread-safe.
class RowNorm {
 public:
  /// Throws dnnl::error, std::bad_alloc.
  RowNorm(const NormWeights& weights, double epsilon);

  /// Normalise `count` rows of `from` into `to`, which may be the same, in
  /// `scratch`, scratch_bytes() long. Throws dnnl::error.
  void Compute(const float* from, float* to, std::int64_t count,
               std::byte* scratch) const;
  [[nodiscard]] std::size_t scratch_bytes() const { return scratch_bytes_; }

 private:
  std::int64_t width_ = 0;
  std::vector<float> weight_;
  std::vector<float> bias_;  // empty: none
  LayerNormKernel many_;     // of 16 rows
  LayerNormKernel one_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace attention
