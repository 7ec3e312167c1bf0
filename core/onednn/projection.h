// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/attention/layer.h"
#include "core/attention/module_spec.h"
#include "core/attention/weights.h"
#include "core/onednn/kernel.h"
#include "core/onednn/tile.h"
#include "core/tensor/tensor.h"

namespace attention {

/// A linear layer on matmul primitives, in float32, by slices of a fixed width.
/// Rows are read and written where they lie if they are consecutive float32
/// rows filling a tile, else gathered and scattered by way of scratch.
class Projection final : public LinearLayer {
 public:
  /// Pack the weight and compile a kernel for every height. Throws dnnl::error,
  /// std::bad_alloc.
  explicit Projection(const LinearWeights& weights,
                      std::optional<Activation> activation = std::nullopt);

  [[nodiscard]] std::int64_t num_items(
      const ProjectionRows& rows) const override;
  void Compute(const ProjectionRows& rows, std::int64_t item,
               std::byte* scratch) const override;
  [[nodiscard]] std::size_t scratch_bytes() const override {
    return scratch_bytes_;
  }
  [[nodiscard]] std::size_t memory_bytes() const override {
    return memory_bytes_;
  }

 private:
  // Columns [first, first + width) of the output.
  struct Slice {
    std::int64_t first = 0;
    std::int64_t width = 0;
    AlignedBuffer weights;  // packed
    // For each of kTileHeights; shared by slices of one width.
    std::shared_ptr<const std::vector<MatmulKernel>> kernels;
  };
  // One tile of a call: rows [first, first + count), computed as `height`.
  struct Tile {
    std::int64_t first = 0;
    std::int64_t count = 0;
    std::int64_t height = 0;
  };

  [[nodiscard]] std::shared_ptr<const std::vector<MatmulKernel>> CompileKernels(
      std::int64_t width) const;
  void AddSlice(const std::vector<float>& weight, std::int64_t first,
                std::int64_t width);
  const float* Gather(const ProjectionRows& rows, const Tile& tile,
                      float* scratch) const;
  void Scatter(const ProjectionRows& rows, const Tile& tile, const Slice& slice,
               const float* scratch) const;

  std::int64_t in_ = 0;
  std::int64_t out_ = 0;
  std::vector<float> bias_;  // empty: none
  std::optional<Activation> activation_;
  std::vector<Slice> slices_;
  std::size_t kernel_scratch_bytes_ = 0;
  std::size_t scratch_bytes_ = 0;
  std::size_t memory_bytes_ = 0;
};

}  // namespace attention
