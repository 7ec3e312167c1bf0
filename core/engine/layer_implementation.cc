// SPDX-License-Identifier: Apache-2.0
#include "core/engine/layer_implementation.h"

#include <optional>
#include <string_view>

#include "core/engine/encoder_stack.h"
#include "core/engine/make_layer.h"
#include "core/onednn/catch_dnnl.h"
#include "core/onednn/compute_thread.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

class LayerImplementation final : public ModuleImplementation {
 public:
  // Throws dnnl::error, std::bad_alloc.
  LayerImplementation(const ComputePath& path, const ModuleSpec& spec,
                      const ModuleWeights& weights)
      : path_(path) {
    if (spec.encoder) {
      encoder_.emplace(path, spec, weights);
    } else {
      attention_ = MakeAttentionLayer(path, spec.attention,
                                      weights.layers.front().attention);
    }
  }

  std::string_view name() const override { return path_.name(); }
  DataType compute_dtype() const override { return path_.dtype; }
  std::size_t memory_bytes() const override {
    return encoder_ ? encoder_->memory_bytes() : attention_->memory_bytes();
  }
  std::size_t ScratchBytes(const PackedBatch& batch,
                           std::size_t num_threads) const override {
    return encoder_ ? encoder_->ScratchBytes(batch, num_threads)
                    : attention_->ScratchBytes(batch, num_threads);
  }
  absl::Status Forward(const PackedBatch& batch,
                       const AttentionOutputs& outputs,
                       ComputePool& pool) const override {
    absl::Status status;
    const absl::Status thrown = CatchDnnl([&] {
      const ComputeThreadScope scope;
      status = encoder_ ? encoder_->Forward(batch, outputs.output, pool)
                        : attention_->Forward(batch, outputs, pool);
    });
    status.Update(thrown);
    return status;
  }

 private:
  ComputePath path_;
  std::unique_ptr<const AttentionLayer> attention_;  // either this
  std::optional<EncoderStack> encoder_;              // or that
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModuleImplementation>> MakeLayerImplementation(
    const ModuleConfig& config, const ModuleWeights& weights,
    std::optional<ComputePath> path) {
  if (weights.dtype == DataType::kFloat64) {
    return absl::InvalidArgumentError(
        "weights: expected float32, bfloat16 or float16, got float64");
  }
  std::unique_ptr<ModuleImplementation> made;
  ATTENTION_RETURN_IF_ERROR(CatchDnnl([&] {
    const ComputeThreadScope scope;
    const ModuleSpec spec = SpecOf(config);
    if (!path) path = BestComputePath(spec.attention.compute_dtype);
    made = std::make_unique<LayerImplementation>(*path, spec, weights);
  }));
  return made;
}

}  // namespace attention
