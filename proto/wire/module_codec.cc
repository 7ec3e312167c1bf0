// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/module_codec.h"

#include <optional>
#include <utility>

#include "core/tensor/status_macros.h"
#include "proto/wire/config_codec.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

ModuleState DecodeState(v1::ModuleState state) {
  switch (state) {
    case v1::MODULE_STATE_AVAILABLE:
      return ModuleState::kAvailable;
    case v1::MODULE_STATE_LOADING:
      return ModuleState::kLoading;
    case v1::MODULE_STATE_READY:
      return ModuleState::kReady;
    case v1::MODULE_STATE_UNLOADING:
      return ModuleState::kUnloading;
    case v1::MODULE_STATE_FAILED:
      return ModuleState::kFailed;
    default:
      return ModuleState::kUnknown;
  }
}

v1::ModuleState EncodeState(ModuleState state) {
  switch (state) {
    case ModuleState::kUnknown:
      return v1::MODULE_STATE_UNSPECIFIED;
    case ModuleState::kAvailable:
      return v1::MODULE_STATE_AVAILABLE;
    case ModuleState::kLoading:
      return v1::MODULE_STATE_LOADING;
    case ModuleState::kReady:
      return v1::MODULE_STATE_READY;
    case ModuleState::kUnloading:
      return v1::MODULE_STATE_UNLOADING;
    case ModuleState::kFailed:
      return v1::MODULE_STATE_FAILED;
  }
  return v1::MODULE_STATE_UNSPECIFIED;
}

template <typename T>
std::optional<T> ToOptional(absl::StatusOr<T> value) {
  if (!value.ok()) return std::nullopt;
  return *std::move(value);
}

}  // namespace

v1::ModuleInfo EncodeModuleDescription(const ModuleDescription& description) {
  v1::ModuleInfo message;
  message.set_name(description.name);
  message.set_state(EncodeState(description.state));
  message.set_version(description.version);
  if (description.config) {
    *message.mutable_config() = EncodeModuleConfig(*description.config);
  }
  if (description.weights_dtype) {
    message.set_weights_dtype(EncodeDataType(*description.weights_dtype));
  }
  if (description.compute_dtype) {
    message.set_compute_dtype(EncodeDataType(*description.compute_dtype));
  }
  message.set_implementation(description.implementation);
  message.set_memory_bytes(description.memory_bytes);
  message.set_weights_digest(description.weights_digest);
  message.set_error(description.error);
  return message;
}

ModuleDescription DecodeModuleDescription(const v1::ModuleInfo& message) {
  ModuleDescription description;
  description.name = message.name();
  description.state = DecodeState(message.state());
  description.version = message.version();
  if (message.has_config()) {
    description.config = ToOptional(DecodeModuleConfig(message.config()));
  }
  description.weights_dtype =
      ToOptional(DecodeDataType(message.weights_dtype()));
  description.compute_dtype =
      ToOptional(DecodeDataType(message.compute_dtype()));
  description.implementation = message.implementation();
  description.memory_bytes = message.memory_bytes();
  description.weights_digest = message.weights_digest();
  description.error = message.error();
  return description;
}

absl::StatusOr<UploadOptions> DecodeUploadHeader(
    const v1::UploadModuleHeader& message) {
  UploadOptions options;
  options.name = message.name();
  ATTENTION_ASSIGN_OR_RETURN(options.config,
                             DecodeModuleConfig(message.config()));
  options.replace = message.replace();
  options.persist = message.persist();
  options.source =
      DecodeWeightSource(message.weights_prefix(), message.weight_names());
  return options;
}

v1::UploadModuleHeader EncodeUploadHeader(const UploadOptions& options) {
  v1::UploadModuleHeader message;
  message.set_name(options.name);
  *message.mutable_config() = EncodeModuleConfig(options.config);
  message.set_replace(options.replace);
  message.set_persist(options.persist);
  message.set_weights_prefix(options.source.prefix);
  *message.mutable_weight_names() = EncodeWeightNames(options.source);
  return message;
}

}  // namespace attention
