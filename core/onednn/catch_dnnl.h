// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace attention {

/// Call `body`, turning whatever it throws into a status: oneDNN's
/// out-of-memory, std::bad_alloc and std::length_error into RESOURCE_EXHAUSTED,
/// anything else into INTERNAL. The texts are constants that clients may see.
/// The only place where oneDNN's exceptions are caught. Does not throw.
[[nodiscard]] absl::Status CatchDnnl(absl::FunctionRef<void()> body);

}  // namespace attention
