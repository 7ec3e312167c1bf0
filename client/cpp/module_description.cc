// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/module_description.h"

#include "absl/status/statusor.h"
#include "attention/v1/module_service.pb.h"
#include "proto/wire/config_codec.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

using State = ModuleDescription::State;

State DescribeState(v1::ModuleState state) {
  switch (state) {
    case v1::MODULE_STATE_AVAILABLE:
      return State::kAvailable;
    case v1::MODULE_STATE_LOADING:
      return State::kLoading;
    case v1::MODULE_STATE_READY:
      return State::kReady;
    case v1::MODULE_STATE_UNLOADING:
      return State::kUnloading;
    case v1::MODULE_STATE_FAILED:
      return State::kFailed;
    default:
      return State::kUnknown;
  }
}

template <typename T>
std::optional<T> ToOptional(absl::StatusOr<T> value) {
  if (!value.ok()) return std::nullopt;
  return *std::move(value);
}

}  // namespace

std::string_view ModuleDescription::state_name() const {
  switch (state) {
    case State::kUnknown:
      return "unknown";
    case State::kAvailable:
      return "available";
    case State::kLoading:
      return "loading";
    case State::kReady:
      return "ready";
    case State::kUnloading:
      return "unloading";
    case State::kFailed:
      return "failed";
  }
  return "unknown";
}

ModuleDescription ModuleDescription::FromMessage(
    const v1::ModuleInfo& message) {
  ModuleDescription description;
  description.name = message.name();
  description.state = DescribeState(message.state());
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

}  // namespace attention
