// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace attention {

/// View a status's text; Abseil's string_view is a type of its own.
[[nodiscard]] inline std::string_view StatusText(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

/// Put "<where>: " before a failed status's text; payloads are kept.
[[nodiscard]] absl::Status AnnotateStatus(std::string_view where,
                                          const absl::Status& status);

}  // namespace attention
