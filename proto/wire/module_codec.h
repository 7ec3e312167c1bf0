// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "attention/v1/module_service.pb.h"
#include "core/attention/module_description.h"

namespace attention {

/// Convert what a server says about a module. What is absent or unknown in a
/// message is unset in the description. Thread-safe.
[[nodiscard]] v1::ModuleInfo EncodeModuleDescription(
    const ModuleDescription& description);
[[nodiscard]] ModuleDescription DecodeModuleDescription(
    const v1::ModuleInfo& message);

/// Convert the header of an upload.
/// \return INVALID_ARGUMENT as DecodeModuleConfig. Thread-safe.
[[nodiscard]] absl::StatusOr<UploadOptions> DecodeUploadHeader(
    const v1::UploadModuleHeader& message);
[[nodiscard]] v1::UploadModuleHeader EncodeUploadHeader(
    const UploadOptions& options);

}  // namespace attention
