// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/weights.h"
#include "core/module/safetensors.h"

namespace attention {

/// A module as read from a file: all that serving it needs.
struct StoredModule {
  ModuleConfig config;
  AttentionWeights weights;
  std::string weights_digest;  ///< see WeightsDigest
};

/// Copy a module's parameters out of a file.
///
/// \param prefix is put before every weight's name, such as
///   "encoder.layers.0.self_attn."; other tensors are ignored. With an empty
///   prefix every tensor must belong to the module.
/// \return INVALID_ARGUMENT when the config is not valid or the tensors are not
///   the module's, RESOURCE_EXHAUSTED when memory is exhausted.
/// Thread-safe.
[[nodiscard]] absl::StatusOr<StoredModule> ReadModule(
    const SafetensorsView& file, const ModuleConfig& config,
    std::string_view prefix = "");

/// List the tensors a module has in a file, under their names without prefix.
/// \return INVALID_ARGUMENT when one is missing or the config is not valid.
/// Lifetime: borrows what `tensors` borrows. Thread-safe.
[[nodiscard]] absl::StatusOr<NamedTensors> SelectModuleTensors(
    const ModuleConfig& config, const NamedTensors& tensors,
    std::string_view prefix);

}  // namespace attention
