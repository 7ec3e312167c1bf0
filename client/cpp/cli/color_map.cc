// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/color_map.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace attention {

Color ColorOf(double value) {
  const double scaled =
      std::clamp(value, 0.0, 1.0) * static_cast<double>(kViridis.size() - 1);
  const auto lower =
      std::min(static_cast<std::size_t>(scaled), kViridis.size() - 2);
  const double fraction = scaled - static_cast<double>(lower);
  const auto mix = [fraction](std::uint8_t from, std::uint8_t to) {
    return static_cast<std::uint8_t>(std::lround(
        static_cast<double>(from) +
        fraction * (static_cast<double>(to) - static_cast<double>(from))));
  };
  const Color& from = kViridis[lower];
  const Color& to = kViridis[lower + 1];
  return {mix(from.red, to.red), mix(from.green, to.green),
          mix(from.blue, to.blue)};
}

}  // namespace attention
