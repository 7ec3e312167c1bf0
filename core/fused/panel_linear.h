// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/attention/layer.h"
#include "core/attention/rows.h"
#include "core/attention/weights.h"
#include "core/fused/patch_sink.h"
#include "core/fused/row_source.h"
#include "core/fused/weight_memory.h"
#include "core/onednn/brgemm.h"
#include "core/tensor/tensor.h"

namespace attention {

/// A linear layer on Multiply (float32) or on ukernels (bfloat16). The weight
/// is packed once, in panels of kPanelWidth columns, which fit into a core's L2
/// cache beside a tile of rows; in float32 a panel is strips of MultiplyStrip()
/// columns, one behind the other. Inputs are read where they lie if they are
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

  [[nodiscard]] std::int64_t num_items(std::int64_t num_rows) const;
  /// Compute one of num_items() pieces of x W^T + bias, for the rows x
  /// [num_rows, in] of `input`, and hand its patches to `sink`. Throws
  /// dnnl::error.
  void Compute(const RowSource& input, std::int64_t item, const PatchSink& sink,
               std::byte* scratch) const;
  /// The rows an item computes.
  [[nodiscard]] static RowRange RowsOf(std::int64_t num_rows,
                                       std::int64_t item);

  [[nodiscard]] absl::Status Compute(const float* x, std::int64_t num_rows,
                                     float* y,
                                     ComputePool& pool) const override;
  [[nodiscard]] LinearWeights Unpack() const override;
  [[nodiscard]] std::size_t scratch_bytes() const override;
  [[nodiscard]] std::size_t memory_bytes() const override;

 private:
  // The kernels for a panel of `width` columns, of kMaxDepth inputs each.
  using Kernels = std::vector<std::shared_ptr<const Brgemm>>;
  // A panel's weights: its strips, [depth, columns] each, one behind the other.
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
  // Where element (k, n) of the packed weight lies.
  [[nodiscard]] std::size_t PlaceOf(std::int64_t k, std::int64_t n) const;
  [[nodiscard]] std::int64_t num_panels() const;
  // Panels one item computes.
  [[nodiscard]] std::int64_t PanelsPerItem(std::int64_t num_rows) const;
  [[nodiscard]] const std::byte* FindRows(const RowSource& input,
                                          const RowRange& rows) const;
  [[nodiscard]] const std::byte* CopyRows(const RowSource& input,
                                          const RowRange& rows,
                                          std::byte* scratch) const;
  [[nodiscard]] Panel PanelAt(std::int64_t index) const;
  // Compute a patch of float32 where it belongs, or return false.
  [[nodiscard]] bool ComputeInPlace(const Panel& panel, std::int64_t row,
                                    const TileRows& rows,
                                    const PatchSink& sink) const;
  // Compute a patch without its bias: sums [rows, kPanelWidth].
  void ComputeSums(const Panel& panel, const TileRows& rows, float* sums) const;
  // Compute a patch of float32, with its bias, or none, if that is nullptr.
  void MultiplyFloats(const Panel& panel, const TileRows& rows,
                      const float* bias, const PatchSink::Place& to) const;

  DataType dtype_;
  std::size_t element_size_;
  std::int64_t in_;
  std::int64_t depth_;  // in_, made even with bfloat16
  std::int64_t out_;
  std::int64_t strip_;  // columns whose rows lie one behind the other
  Epilogue epilogue_;
  bool has_bias_;
  std::vector<float> bias_;  // zeros: none
  std::size_t panel_bytes_;
  std::shared_ptr<std::byte> panels_;
  // bfloat16
  Kernels full_kernels_;
  Kernels last_kernels_;  // of the last, narrower panel
};

}  // namespace attention
