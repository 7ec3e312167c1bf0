// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor/tensor.h"

namespace attention {

/// One head's attention weights, or their mean over the heads: a matrix of
/// queries (rows) by keys (columns).
struct WeightsPanel {
  std::string title;
  std::size_t num_rows = 0;
  std::size_t num_columns = 0;
  std::vector<double> values;  ///< row-major; NaN allowed

  [[nodiscard]] double at(std::size_t row, std::size_t column) const {
    return values[row * num_columns + column];
  }
  /// The largest finite value, at least 0.
  [[nodiscard]] double max() const;
};

/// Which panels to take out of a weights tensor.
struct PanelSelection {
  bool batched = false;   ///< first dimension is the batch
  bool per_head = false;  ///< the dimension before the last two is the heads
  std::size_t max_sequences = 1;
  std::size_t max_heads = 4;
};

/// Panels, and how many there are in the tensor.
struct Panels {
  std::vector<WeightsPanel> panels;
  std::size_t num_available = 0;
};

/// Take the panels out of weights of shape ([N,] [H,] L, S'), whose rank must
/// be what `selection` says.
[[nodiscard]] Panels SelectPanels(const TensorView& weights,
                                  const PanelSelection& selection);

/// Shrink a panel so that it has at most this many rows and columns. Each cell
/// of the result is the mean of a block; NaN cells do not count unless the
/// whole block is NaN.
[[nodiscard]] WeightsPanel Subsample(const WeightsPanel& panel,
                                     std::size_t max_rows,
                                     std::size_t max_columns);

/// How a terminal shows shades.
enum class HeatmapStyle : std::uint8_t {
  kPlain,   ///< ASCII, for files and pipes
  kShades,  ///< Unicode block elements
  kColor,   ///< 24-bit background colours (ISO 8613-6)
};

/// How to draw a panel in a terminal.
struct HeatmapOptions {
  HeatmapStyle style = HeatmapStyle::kPlain;
  std::size_t max_rows = 32;
  std::size_t max_columns = 36;  ///< each two characters wide
};

/// Draw a panel as lines of text: title, one line per query, a legend, and a
/// line that says so when the panel had to be shrunk. Shades run from 0 to the
/// panel's largest weight; NaN is shown as "??".
[[nodiscard]] std::string RenderHeatmap(const WeightsPanel& panel,
                                        const HeatmapOptions& options);

}  // namespace attention
