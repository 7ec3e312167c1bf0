// SPDX-License-Identifier: Apache-2.0
#include "core/engine/layer_implementation.h"

#include <new>
#include <stdexcept>

#include "core/engine/make_layer.h"
#include "core/onednn/catch_dnnl.h"
#include "core/onednn/compute_thread.h"
#include "core/tensor/status_macros.h"

namespace attention {

LayerImplementation::LayerImplementation(const ComputePath& path,
                                         const ModuleSpec& spec,
                                         const ModuleWeights& weights)
    : path_(path) {
  if (spec.encoder) {
    encoder_.emplace(path, spec, weights);
  } else {
    attention_ = MakeAttentionLayer(path, spec.attention,
                                    weights.layers.front().attention);
  }
}

std::size_t LayerImplementation::memory_bytes() const {
  return encoder_ ? encoder_->memory_bytes() : attention_->memory_bytes();
}

std::size_t LayerImplementation::ScratchBytes(
    std::span<const Sequence> sequences, std::size_t num_threads) const {
  return encoder_ ? encoder_->ScratchBytes(sequences, num_threads)
                  : attention_->ScratchBytes(sequences, num_threads);
}

absl::Status LayerImplementation::Forward(std::span<const Sequence> sequences,
                                          ComputePool& pool) const {
  absl::Status status;
  const absl::Status thrown = CatchDnnl([&] {
    const ComputeThreadScope scope;
    status = encoder_ ? encoder_->Forward(sequences, pool)
                      : attention_->Forward(sequences, /*layer=*/0, pool);
  });
  status.Update(thrown);
  return status;
}

LayerWeights LayerImplementation::Layer(std::size_t index) const {
  LayerWeights weights;
  const absl::Status unpacked = CatchDnnl([&] {
    const ComputeThreadScope scope;
    if (encoder_) {
      weights = encoder_->UnpackLayer(index);
    } else {
      weights.attention = attention_->Unpack();
    }
  });
  if (absl::IsResourceExhausted(unpacked)) throw std::bad_alloc();
  if (!unpacked.ok()) throw std::runtime_error("weights cannot be unpacked");
  return weights;
}

std::optional<NormWeights> LayerImplementation::FinalNorm() const {
  return encoder_ ? encoder_->UnpackFinalNorm() : std::nullopt;
}

absl::StatusOr<std::unique_ptr<LayerImplementation>> MakeLayerImplementation(
    const ModuleConfig& config, const ModuleWeights& weights,
    std::optional<ComputePath> path) {
  if (weights.dtype == DataType::kFloat64) {
    return absl::InvalidArgumentError(
        "weights: expected float32, bfloat16 or float16, got float64");
  }
  std::unique_ptr<LayerImplementation> made;
  ATTENTION_RETURN_IF_ERROR(CatchDnnl([&] {
    const ComputeThreadScope scope;
    const ModuleSpec spec = SpecOf(config);
    if (!path) path = BestComputePath(spec.attention.compute_dtype);
    made = std::make_unique<LayerImplementation>(*path, spec, weights);
  }));
  return made;
}

}  // namespace attention
