// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/attention/weights.h"

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
  /// A copy of weight and bias, float32. Throws std::bad_alloc.
  [[nodiscard]] NormWeights Unpack() const;
  /// Memory held: weight and bias.
  [[nodiscard]] std::size_t memory_bytes() const {
    return (weight_.size() + bias_.size()) * sizeof(float);
  }

 private:
  std::int64_t width_ = 0;
  std::vector<float> weight_;
  std::vector<float> bias_;  // empty: none
  struct Kernels;
  std::shared_ptr<const Kernels> kernels_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace attention
