// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/attention/layer.h"
#include "core/attention/weights.h"
#include "core/fused/tile_sink.h"
#include "core/fused/weight_memory.h"
#include "core/onednn/brgemm.h"
#include "core/tensor/tensor.h"

namespace attention {

/// A linear layer on Multiply (float32) or on ukernels (bfloat16). The weight
/// is packed once, in panels of kPanelWidth columns, which fit into a core's L2
/// cache beside a tile of rows; inputs are read where they lie if they are
/// consecutive rows of the compute dtype, else gathered and converted by way of
/// scratch.
///
/// With K = in, sums run over kMaxDepth inputs at a time in ascending order,
/// whatever the rows: so a row's bits depend on the row alone.
class PanelLinear final : public LinearLayer {
 public:
  static constexpr std::int64_t kPanelWidth = 64;
  /// Keeps a panel of float32 weights within 256 KiB.
  static constexpr std::int64_t kMaxDepth = 1024;

  /// Pack the weight, in float32 or bfloat16, into PanelBytes() of `memory`.
  /// Throws dnnl::error, std::bad_alloc.
  PanelLinear(const LinearWeights& weights, DataType dtype,
              std::optional<Activation> activation, WeightMemory& memory);

  /// Memory the packed weight takes.
  [[nodiscard]] static std::size_t PanelBytes(const LinearWeights& weights,
                                              DataType dtype);

  /// Rows of a tensor viewed as (rows, in): row t is its row sources[t].
  /// Lifetime: borrows.
  struct Input {
    const TensorView& tensor;
    std::span<const std::int64_t> sources;

    [[nodiscard]] std::int64_t num_rows() const {
      return static_cast<std::int64_t>(sources.size());
    }
  };

  [[nodiscard]] std::int64_t num_items(std::int64_t num_rows) const;
  /// Compute one of num_items() pieces of x W^T + bias and hand its tiles to
  /// `sink`. Throws dnnl::error.
  void Compute(const Input& input, std::int64_t item, const TileSink& sink,
               std::byte* scratch) const;

  [[nodiscard]] std::int64_t num_items(
      const ProjectionRows& rows) const override;
  void Compute(const ProjectionRows& rows, std::int64_t item,
               std::byte* scratch) const override;
  [[nodiscard]] std::size_t scratch_bytes() const override;
  [[nodiscard]] std::size_t memory_bytes() const override;

 private:
  // The kernels for a panel of `width` columns, of kMaxDepth inputs each.
  using Kernels = std::vector<std::shared_ptr<const Brgemm>>;
  // A panel's weights, [depth, width].
  struct Panel {
    std::int64_t column;  // the first of the layer's
    std::int64_t width;   // kPanelWidth, or of the last a multiple of 16
    const std::byte* weights;
  };
  // Rows of the compute dtype.
  struct TileRows {
    const std::byte* data;
    std::int64_t count;
  };

  [[nodiscard]] Kernels Compile(std::int64_t width) const;
  void Pack(const std::vector<float>& weight);
  [[nodiscard]] std::int64_t num_panels() const;
  // Panels one item computes.
  [[nodiscard]] std::int64_t PanelsPerItem(std::int64_t num_rows) const;
  [[nodiscard]] const std::byte* Rows(const Input& input, std::int64_t first,
                                      std::int64_t count,
                                      std::byte* scratch) const;
  [[nodiscard]] Panel PanelAt(std::int64_t index) const;
  // Compute a tile of float32 where it belongs, or return false.
  [[nodiscard]] bool ComputeInPlace(const Panel& panel, std::int64_t row,
                                    const TileRows& rows,
                                    const TileSink& sink) const;
  // Compute a tile without its bias: sums [rows, kPanelWidth].
  void ComputeSums(const Panel& panel, const TileRows& rows, float* sums) const;
  // Compute a tile of float32, with its bias, or none, if that is nullptr.
  void MultiplyFloats(const Panel& panel, const TileRows& rows,
                      const float* bias, const TileSink::Place& to) const;

  DataType dtype_;
  std::size_t element_size_;
  std::int64_t in_;
  std::int64_t depth_;  // in_, made even with bfloat16
  std::int64_t out_;
  Epilogue epilogue_;
  std::vector<float> bias_;  // zeros: none
  std::size_t panel_bytes_;
  std::shared_ptr<std::byte> panels_;
  // bfloat16
  Kernels full_kernels_;
  Kernels last_kernels_;  // of the last, narrower panel
};

}  // namespace attention
