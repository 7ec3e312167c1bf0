// SPDX-License-Identifier: Apache-2.0
#include "core/module/attention_module.h"

#include <utility>

#include "core/engine/layer_implementation.h"
#include "core/reference/reference_implementation.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// What a module takes beside its weights, at least: its objects, name and
// config.
constexpr std::size_t kModuleBytes = 4096;

}  // namespace

absl::StatusOr<std::shared_ptr<const AttentionModule>> AttentionModule::Create(
    Identity identity, const ModuleConfig& config, ModuleWeights weights,
    PathChoice path) {
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(config));
  const std::shared_ptr<AttentionModule> module(new AttentionModule);
  module->identity_ = std::move(identity);
  module->config_ = config;
  module->weights_dtype_ = weights.dtype;
  std::shared_ptr<const WeightStore> store;
  if (weights.dtype == DataType::kFloat64) {
    store = MakeWeightStore(std::move(weights));
  } else {
    ATTENTION_ASSIGN_OR_RETURN(
        const ComputePath chosen,
        ChooseComputePath(path, SpecOf(config).attention.compute_dtype));
    ATTENTION_ASSIGN_OR_RETURN(
        std::shared_ptr<const LayerImplementation> layers,
        MakeLayerImplementation(config, weights, chosen));
    module->layers_ = layers;
    store = std::move(layers);
  }
  module->reference_ = MakeReferenceImplementation(config, std::move(store));
  return module;
}

const ModuleImplementation& AttentionModule::implementation(
    DataType query_dtype) const {
  const bool use_reference =
      layers_ == nullptr || query_dtype == DataType::kFloat64;
  return use_reference ? *reference_ : *layers_;
}

std::size_t AttentionModule::memory_bytes() const {
  return kModuleBytes + reference_->memory_bytes();
}

}  // namespace attention
