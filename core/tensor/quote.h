// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace attention {

/// Quote untrusted text for an error message: 'text', at most 64 bytes of it,
/// with everything but printable ASCII escaped, so that a message cannot be
/// flooded and a log line cannot be forged. Thread-safe.
[[nodiscard]] std::string Quote(std::string_view text);

}  // namespace attention
