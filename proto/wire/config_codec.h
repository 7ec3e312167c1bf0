// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "attention/v1/module_config.pb.h"
#include "core/attention/config.h"

namespace attention {

/// Convert and validate a module's configuration.
/// \return INVALID_ARGUMENT when no kind is set or a field is out of range.
[[nodiscard]] absl::StatusOr<ModuleConfig> DecodeModuleConfig(
    const v1::ModuleConfig& message);
[[nodiscard]] v1::ModuleConfig EncodeModuleConfig(const ModuleConfig& config);

/// The same as JSON text: the message's own mapping with snake_case names.
/// \return INVALID_ARGUMENT for malformed JSON or an unknown field.
[[nodiscard]] absl::StatusOr<ModuleConfig> ParseModuleConfigJson(
    std::string_view json);
[[nodiscard]] std::string ModuleConfigToJson(const ModuleConfig& config);

}  // namespace attention
