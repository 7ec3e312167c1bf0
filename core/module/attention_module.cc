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
    Identity identity, const ModuleConfig& config, ModuleWeights weights) {
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(config));
  const std::shared_ptr<AttentionModule> module(new AttentionModule);
  module->identity_ = std::move(identity);
  module->config_ = config;
  module->weights_ = std::make_shared<const ModuleWeights>(std::move(weights));
  module->reference_ = MakeReferenceImplementation(config, module->weights_);
  if (module->weights_->dtype != DataType::kFloat64) {
    ATTENTION_ASSIGN_OR_RETURN(
        module->onednn_, MakeLayerImplementation(config, *module->weights_));
  }
  return module;
}

const ModuleImplementation& AttentionModule::implementation(
    DataType query_dtype) const {
  const bool use_reference =
      onednn_ == nullptr || query_dtype == DataType::kFloat64;
  return use_reference ? *reference_ : *onednn_;
}

std::size_t AttentionModule::memory_bytes() const {
  return kModuleBytes + reference_->memory_bytes() +
         (onednn_ == nullptr ? 0 : onednn_->memory_bytes());
}

}  // namespace attention
