// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace attention {

/// Check that a name matches [A-Za-z0-9][A-Za-z0-9._-]{0,127}. Such a name is
/// one path component, and neither "." nor ".." nor hidden.
/// \return INVALID_ARGUMENT quoting at most 64 bytes of it. Thread-safe.
[[nodiscard]] absl::Status ValidateModuleName(std::string_view name);

/// Put "module '<name>': " before a failed status's text; payloads are kept.
/// \param name valid, so that it needs no quoting. Thread-safe.
[[nodiscard]] absl::Status InModule(std::string_view name,
                                    const absl::Status& status);

}  // namespace attention
