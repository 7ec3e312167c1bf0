// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

#include "absl/status/status.h"

namespace attention {

/// Call `body`, turning what it throws into a status: oneDNN's out-of-memory
/// and std::bad_alloc into RESOURCE_EXHAUSTED, other oneDNN errors into
/// INTERNAL. The only place where oneDNN's exceptions are caught.
[[nodiscard]] absl::Status CatchDnnl(std::string_view what,
                                     const std::function<void()>& body);

}  // namespace attention
