// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "core/attention/layer.h"
#include "core/attention/module_spec.h"
#include "core/attention/packed_batch.h"
#include "core/attention/weights.h"
#include "core/engine/compute_path.h"
#include "core/onednn/row_norm.h"
#include "core/parallel/compute_pool.h"

namespace attention {

/// A stack of encoder layers, float32 between the layers' parts: attention as
/// AttentionLayer's, the rest row by row, so that a row's bits depend on its
/// sequence alone.
/// Immutable and thread-safe.
class EncoderStack {
 public:
  /// Pack the weights. Throws dnnl::error, std::bad_alloc.
  EncoderStack(const ComputePath& path, const ModuleSpec& spec,
               const ModuleWeights& weights);

  /// As ModuleImplementation's.
  [[nodiscard]] std::size_t memory_bytes() const;
  [[nodiscard]] std::size_t ScratchBytes(const PackedBatch& batch,
                                         std::size_t num_threads) const;
  /// As ModuleImplementation's. Within a ComputeThreadScope. Throws
  /// dnnl::error, std::bad_alloc.
  [[nodiscard]] absl::Status Forward(const PackedBatch& batch,
                                     const MutableTensorView& output,
                                     ComputePool& pool) const;

 private:
  class Pass;
  struct Layer {
    Layer(const ComputePath& path, const ModuleSpec& spec,
          const LayerWeights& weights);

    std::unique_ptr<const AttentionLayer> attention;
    std::unique_ptr<const LinearLayer> linear1;  // and the activation
    std::unique_ptr<const LinearLayer> linear2;
    RowNorm norm1;
    RowNorm norm2;
  };

  // Floats a pass works in, beside its attention layers.
  [[nodiscard]] std::size_t PassFloats(std::int64_t num_rows) const;

  EncoderSpec spec_;
  std::int64_t width_;  // E
  std::vector<std::unique_ptr<const Layer>> layers_;
  std::optional<RowNorm> final_norm_;
};

}  // namespace attention
