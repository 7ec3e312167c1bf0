// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace attention {

/// Return the least multiple of `step` that is at least `value`.
template <typename Integer>
[[nodiscard]] constexpr Integer RoundUp(Integer value, Integer step) {
  return (value + step - 1) / step * step;
}

}  // namespace attention
