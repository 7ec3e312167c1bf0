// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/attention/config.h"
#include "core/attention/layer.h"
#include "core/attention/weights.h"
#include "core/onednn/row_tiles.h"
#include "core/tensor/tensor.h"

namespace attention {

/// A linear layer by matmul primitives, in float32: y = f(x W^T + b), by tiles
/// of rows, one packed weight serving every height. Immutable and thread-safe.
class PrimitiveLinear final : public LinearLayer {
 public:
  /// Pack the weight and compile a matmul of every height. Within a
  /// ComputeThreadScope. Throws dnnl::error, std::bad_alloc.
  explicit PrimitiveLinear(const LinearWeights& weights,
                           std::optional<Activation> activation = std::nullopt);
  /// No layer: y = x, of this width.
  explicit PrimitiveLinear(std::int64_t width) : in_(width), out_(width) {}

  [[nodiscard]] absl::Status Compute(const float* x, std::int64_t num_rows,
                                     float* y,
                                     ComputePool& pool) const override;
  [[nodiscard]] std::size_t scratch_bytes() const override;
  [[nodiscard]] std::size_t memory_bytes() const override {
    return weight_.size() + bias_.size() * sizeof(float);
  }

  /// Compute one tile: `read` puts its rows into x [num_rows, in], `write`
  /// takes them from y [num_rows, out]. Works in `scratch`, scratch_bytes()
  /// long. Throws dnnl::error and what they do.
  void ComputeTile(const RowTile& tile, absl::FunctionRef<void(float* x)> read,
                   absl::FunctionRef<void(const float* y)> write,
                   std::byte* scratch) const;

  /// Return the weight [out, in] and the bias [out], if there are any, float32:
  /// the values the layer was made of. Throws dnnl::error, std::bad_alloc.
  [[nodiscard]] LinearWeights Unpack() const override;

  [[nodiscard]] std::int64_t in() const { return in_; }
  [[nodiscard]] std::int64_t out() const { return out_; }

 private:
  struct Matmuls;
  [[nodiscard]] Matmuls Compile() const;

  std::int64_t in_ = 0;
  std::int64_t out_ = 0;
  std::optional<Activation> activation_;
  std::vector<float> bias_;                 // empty: none
  std::shared_ptr<const Matmuls> matmuls_;  // shared by layers of one size
  AlignedBuffer weight_;
};

}  // namespace attention
