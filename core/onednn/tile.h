// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace attention {

/// Rows a full tile has. Small enough to stay in cache, large enough to reach
/// the speed of a whole matmul.
inline constexpr std::int64_t kTileRows = 64;

}  // namespace attention
