// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "attention/v1/module_config.pb.h"
#include "core/attention/config.h"
#include "core/attention/weights.h"

namespace attention {

/// Convert and validate a module's configuration.
/// \return INVALID_ARGUMENT when no kind is set or a field is out of range.
[[nodiscard]] absl::StatusOr<ModuleConfig> DecodeModuleConfig(
    const v1::ModuleConfig& message);
[[nodiscard]] v1::ModuleConfig EncodeModuleConfig(const ModuleConfig& config);

/// Say where in a file a module's weights are.
[[nodiscard]] WeightSource DecodeWeightSource(std::string_view prefix,
                                              const v1::WeightNames& names);
/// The names of a source, without its prefix.
[[nodiscard]] v1::WeightNames EncodeWeightNames(const WeightSource& source);

/// The same as JSON text: the message's own mapping with snake_case names.
/// \return INVALID_ARGUMENT for malformed JSON or an unknown field.
[[nodiscard]] absl::StatusOr<ModuleConfig> ParseModuleConfigJson(
    std::string_view json);
[[nodiscard]] std::string ModuleConfigToJson(const ModuleConfig& config);

}  // namespace attention
