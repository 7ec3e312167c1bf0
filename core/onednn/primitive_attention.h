// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/attention/layer.h"
#include "core/attention/module_spec.h"
#include "core/attention/weights.h"
#include "core/onednn/primitive_linear.h"

namespace attention {

/// Attention by oneDNN's matmul and softmax primitives, in float32, in three
/// steps:
///
///   1. project   tiles of rows, of whatever sequences they are
///   2. attend    tiles of query rows and heads of one sequence
///   3. project   the context into the callers' outputs
///
/// Scratch: float32 matrices of queries, which the context overwrites unless it
/// has another width, and of keys and values, each sequence's padded to
/// PaddedColumns.
///
/// A row's bits depend on the row and its sequence alone, not on the others of
/// the pass, the number of threads, or where it falls in a tile. Immutable and
/// thread-safe.
class PrimitiveAttention final : public AttentionLayer {
 public:
  /// Pack the weights. Within a ComputeThreadScope. Throws dnnl::error,
  /// std::bad_alloc.
  PrimitiveAttention(const AttentionSpec& spec,
                     const AttentionWeights& weights);

  [[nodiscard]] std::size_t memory_bytes() const override;
  [[nodiscard]] std::size_t ScratchBytes(
      std::span<const Sequence> sequences,
      std::size_t num_threads) const override;
  [[nodiscard]] absl::Status Forward(std::span<const Sequence> sequences,
                                     std::uint32_t layer,
                                     ComputePool& pool) const override;

  /// Return the weights it was made of, float32. Throws dnnl::error,
  /// std::bad_alloc.
  [[nodiscard]] AttentionWeights Unpack() const override;

 private:
  class Pass;

  // What a thread projects in.
  [[nodiscard]] std::size_t ProjectBytes() const;

  AttentionSpec spec_;
  PrimitiveLinear query_, key_, value_, output_;
  std::vector<float> bias_k_, bias_v_;  // [Hkv D], [Hkv Dv], or empty
};

}  // namespace attention
