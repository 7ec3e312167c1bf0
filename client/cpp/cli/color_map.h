// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace attention {

/// A colour of the sRGB space.
struct Color {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
};

/// Nine equidistant samples of the colour map viridis: perceptually uniform,
/// readable without colour vision, and distinct from white and from black.
/// Source: https://bids.github.io/colormap (Smith and van der Walt, CC0).
inline constexpr std::array<Color, 9> kViridis = {{{68, 1, 84},
                                                   {71, 44, 122},
                                                   {59, 81, 139},
                                                   {44, 113, 142},
                                                   {33, 144, 141},
                                                   {39, 173, 129},
                                                   {92, 200, 99},
                                                   {170, 220, 50},
                                                   {253, 231, 37}}};

/// Interpolate the colour of a value in [0, 1]; others are clamped.
[[nodiscard]] Color ColorOf(double value);

}  // namespace attention
