// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/attention/layer.h"
#include "core/attention/module_spec.h"
#include "core/attention/request_plan.h"
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

  /// As WeightStore's.
  [[nodiscard]] LayerWeights UnpackLayer(std::size_t index) const;
  [[nodiscard]] std::optional<NormWeights> UnpackFinalNorm() const;
  /// As ModuleImplementation's.
  [[nodiscard]] std::size_t memory_bytes() const;
  [[nodiscard]] std::size_t ScratchBytes(std::span<const Sequence> sequences,
                                         std::size_t num_threads) const;
  /// As ModuleImplementation's. Within a ComputeThreadScope. Throws
  /// dnnl::error, std::bad_alloc.
  [[nodiscard]] absl::Status Forward(std::span<const Sequence> sequences,
                                     ComputePool& pool) const;

 private:
  struct Memory;
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

  EncoderSpec spec_;
  std::int64_t width_;  // E
  std::vector<std::unique_ptr<const Layer>> layers_;
  std::optional<RowNorm> final_norm_;
};

}  // namespace attention
