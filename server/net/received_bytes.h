// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace attention {

/// Return the bytes a TCP connection has received since it began; 0 where the
/// system does not tell (before Linux 4.1, or another kind of socket).
[[nodiscard]] std::uint64_t ReceivedBytes(int socket);

}  // namespace attention
