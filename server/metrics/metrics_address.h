// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace attention {

/// Read where to serve metrics: HOST:PORT, or PORT, with or without a colon,
/// which is one of 127.0.0.1; port 0 is any free one.
/// \return HOST:PORT. Thread-safe.
[[nodiscard]] absl::StatusOr<std::string> MetricsAddress(std::string_view text);

}  // namespace attention
