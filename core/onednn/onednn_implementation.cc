// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/onednn_implementation.h"

#include <string_view>

#include "core/onednn/catch_dnnl.h"
#include "core/onednn/compute_thread.h"
#include "core/onednn/onednn_attention.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

class OneDnnImplementation final : public ModuleImplementation {
 public:
  // Throws dnnl::error, std::bad_alloc.
  OneDnnImplementation(const ModuleSpec& spec, const ModuleWeights& weights)
      : attention_(spec.attention, weights.layers.front().attention) {}

  std::string_view name() const override { return "onednn-matmul"; }
  DataType compute_dtype() const override { return DataType::kFloat32; }
  std::size_t memory_bytes() const override {
    return attention_.memory_bytes();
  }
  std::size_t ScratchBytes(const PackedBatch& batch,
                           std::size_t num_threads) const override {
    return attention_.ScratchBytes(batch, num_threads);
  }
  absl::Status Forward(const PackedBatch& batch,
                       const AttentionOutputs& outputs,
                       ComputePool& pool) const override {
    absl::Status status;
    const absl::Status thrown =
        CatchDnnl([&] { status = attention_.Forward(batch, outputs, pool); });
    pool.TrimScratch();
    status.Update(thrown);
    return status;
  }

 private:
  OneDnnAttention attention_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModuleImplementation>> MakeOneDnnImplementation(
    const ModuleConfig& config, const ModuleWeights& weights) {
  if (weights.dtype == DataType::kFloat64) {
    return absl::InvalidArgumentError(
        "weights: expected float32, bfloat16 or float16, got float64");
  }
  std::unique_ptr<ModuleImplementation> made;
  ATTENTION_RETURN_IF_ERROR(CatchDnnl([&] {
    const ComputeThreadScope scope;
    made = std::make_unique<OneDnnImplementation>(SpecOf(config), weights);
  }));
  return made;
}

}  // namespace attention
