// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <new>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/module_implementation.h"
#include "core/attention/reference_attention.h"
#include "core/attention/reference_linear.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Bound on the small objects of a pass.
constexpr std::size_t kFixedBytes = 4096;

class ReferenceImplementation final : public ModuleImplementation {
 public:
  ReferenceImplementation(const ModuleConfig& config,
                          std::shared_ptr<const ModuleWeights> weights)
      : spec_(SpecOf(config)), weights_(std::move(weights)) {}

  std::string_view name() const override { return "reference"; }
  DataType compute_dtype() const override { return DataType::kFloat64; }
  std::size_t memory_bytes() const override { return weights_->num_bytes; }

  std::size_t ScratchBytes(const PackedBatch& batch,
                           std::size_t /*num_threads*/) const override {
    const std::size_t layer_elements = weights_->num_bytes /
                                       DataTypeSize(weights_->dtype) /
                                       weights_->layers.size();
    const std::size_t num_bytes =
        sizeof(double) * layer_elements +
        ReferenceAttentionBytes(spec_.attention, batch) + kFixedBytes;
    return num_bytes;
  }

  absl::Status Forward(const PackedBatch& batch,
                       const AttentionOutputs& outputs,
                       ComputePool& pool) const override try {
    return ComputeReferenceAttention(
        spec_.attention, weights_->layers[0].attention, batch, outputs, pool);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory for scratch");
  }

 private:
  ModuleSpec spec_;
  std::shared_ptr<const ModuleWeights> weights_;
};

}  // namespace

std::unique_ptr<ModuleImplementation> MakeReferenceImplementation(
    const ModuleConfig& config, std::shared_ptr<const ModuleWeights> weights) {
  return std::make_unique<ReferenceImplementation>(config, std::move(weights));
}

}  // namespace attention
