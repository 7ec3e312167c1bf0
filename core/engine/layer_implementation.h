// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/layer.h"
#include "core/attention/module_implementation.h"
#include "core/attention/weight_store.h"
#include "core/attention/weights.h"
#include "core/engine/compute_path.h"
#include "core/engine/encoder_stack.h"

namespace attention {

// core/engine: modules out of layers: which path computes them, one attention
// layer or a stack of encoder layers. Includes nothing of oneDNN or Highway.
// Uses core/fused and core/onednn.

/// A module computed by packed layers: an attention layer, or a stack of
/// encoder layers. Serves float32, bfloat16 and float16 queries; as a store it
/// gives out float32 weights. Immutable and thread-safe.
class LayerImplementation final : public ModuleImplementation,
                                  public WeightStore {
 public:
  /// Pack the weights, which must not be float64. Throws dnnl::error,
  /// std::bad_alloc.
  LayerImplementation(const ComputePath& path, const ModuleSpec& spec,
                      const ModuleWeights& weights);

  [[nodiscard]] std::string_view name() const override { return path_.name(); }
  [[nodiscard]] DataType compute_dtype() const override { return path_.dtype; }
  [[nodiscard]] std::size_t memory_bytes() const override;
  [[nodiscard]] std::size_t ScratchBytes(
      std::span<const Sequence> sequences,
      std::size_t num_threads) const override;
  [[nodiscard]] absl::Status Forward(std::span<const Sequence> sequences,
                                     ComputePool& pool) const override;

  [[nodiscard]] LayerWeights Layer(std::size_t index) const override;
  [[nodiscard]] std::optional<NormWeights> FinalNorm() const override;

 private:
  ComputePath path_;
  std::unique_ptr<const AttentionLayer> attention_;  // either this
  std::optional<EncoderStack> encoder_;              // or that
};

/// Make the implementation of a module on a path; default: the best there is
/// for the config's compute dtype.
/// \return INVALID_ARGUMENT for float64 weights, RESOURCE_EXHAUSTED when memory
///   is exhausted, INTERNAL when oneDNN fails.
[[nodiscard]] absl::StatusOr<std::unique_ptr<LayerImplementation>>
MakeLayerImplementation(const ModuleConfig& config,
                        const ModuleWeights& weights,
                        std::optional<ComputePath> path = std::nullopt);

}  // namespace attention
