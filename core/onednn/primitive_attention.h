// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "core/attention/layer.h"
#include "core/attention/module_spec.h"
#include "core/attention/weights.h"
#include "core/onednn/projection.h"

namespace attention {

/// Attention by oneDNN's matmul and softmax primitives, in float32: projections
/// by tiles of rows with packed weights, attention by tiles of query rows of
/// one sequence. A row's bits depend on the row and its sequence alone.
/// Immutable and thread-safe.
class PrimitiveAttention final : public AttentionLayer {
 public:
  /// Pack the weights. Throws dnnl::error, std::bad_alloc.
  PrimitiveAttention(const AttentionSpec& spec,
                     const AttentionWeights& weights);

  [[nodiscard]] std::size_t memory_bytes() const override;
  [[nodiscard]] std::size_t ScratchBytes(
      const PackedBatch& batch, std::size_t num_threads) const override;
  [[nodiscard]] absl::Status Forward(const PackedBatch& batch,
                                     const AttentionOutputs& outputs,
                                     ComputePool& pool) const override;

 private:
  class Pass;

  AttentionSpec spec_;
  std::optional<Projection> query_, key_, value_;  // with input_projections
  std::optional<Projection> output_;               // with output_projection
  std::vector<float> bias_k_, bias_v_;             // [Hkv D], or empty
};

}  // namespace attention
