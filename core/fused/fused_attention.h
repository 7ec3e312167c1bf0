// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/attention/layer.h"
#include "core/attention/module_spec.h"
#include "core/attention/weights.h"
#include "core/fused/fused_pass.h"
#include "core/fused/fused_tile.h"
#include "core/fused/panel_linear.h"

namespace attention {

// core/fused: attention block by block of keys, without a matrix of L x S, and
// the linear layers around it: where rows are read, how keys are packed, where
// products go. Uses core/onednn for ukernels and core/simd for everything else.

/// What fused attention computes with.
struct FusedOptions {
  DataType dtype = DataType::kFloat32;  ///< of operands: or kBFloat16
  /// Memory of the rows of as many sequences as are computed together; a
  /// sequence that has more is computed by itself. Half of what a pool
  /// reserves, beside which an encoder has rows; with two threads more is not
  /// faster.
  std::int64_t pass_bytes = std::int64_t{32} << 20U;

  friend bool operator==(const FusedOptions&, const FusedOptions&) = default;
};

/// Fused attention, in passes over as many of the sequences as have rows
/// of FusedOptions::pass_bytes together, at least one, in three steps each:
///
///   1. project   rows where their requests have them; keys, values into pages
///   2. attend    by tiles of query rows and heads: FusedTileComputer
///   3. project   the context into the requests' outputs
///
/// Scratch: with T query rows and S keys, appended ones included, of a pass's
/// sequences together, matrices of T H D + S Hkv (D + Dv) elements of the
/// compute dtype (and T H Dv more if D and Dv differ), up to 100 bytes for each
/// sequence and each item of work, and for each thread some 500 KiB, the rows
/// of a projection's tile, and 64 rows of floats where a mask is put together
/// or weights are wanted. Each sequence's keys, D in bfloat16 and Dv are
/// rounded up to 16, 2 and 16.
///
/// A row's bits depend on the row and its sequence alone, not on the batch, the
/// number of threads, or where it falls in a tile. Immutable and thread-safe.
class FusedAttention final : public AttentionLayer {
 public:
  /// Pack the weights and compile the kernels. Throws dnnl::error,
  /// std::bad_alloc.
  FusedAttention(const FusedOptions& options, const AttentionSpec& spec,
                 const AttentionWeights& weights);

  [[nodiscard]] AttentionWeights Unpack() const override;
  [[nodiscard]] std::size_t memory_bytes() const override;
  [[nodiscard]] std::size_t ScratchBytes(
      std::span<const Sequence> sequences,
      std::size_t num_threads) const override;
  [[nodiscard]] absl::Status Forward(std::span<const Sequence> sequences,
                                     std::uint32_t layer,
                                     ComputePool& pool) const override;

 private:
  class Pass;
  struct Work {
    ComputePool& pool;
    std::byte* memory;
  };

  // Take the next pass from what is left.
  [[nodiscard]] FusedExtent NextPass(std::span<const Sequence>& left) const;
  // Memory of the largest pass.
  [[nodiscard]] std::size_t LayoutBytes(
      std::span<const Sequence> sequences) const;
  [[nodiscard]] std::size_t InputScratchBytes() const;
  [[nodiscard]] std::size_t OutputScratchBytes() const;

  FusedOptions options_;
  AttentionSpec spec_;
  PackedKeys layout_;                               // without memory
  std::optional<PanelLinear> query_, key_, value_;  // with input_projections
  std::optional<PanelLinear> output_;               // with output_projection
  std::vector<float> bias_k_, bias_v_;              // [Hkv D], or empty
  std::shared_ptr<const FusedKernels> kernels_;
};

}  // namespace attention
