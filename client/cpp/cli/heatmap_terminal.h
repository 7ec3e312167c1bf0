// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/cli/heatmap.h"

namespace attention {

/// How a terminal shows shades.
enum class HeatmapStyle : std::uint8_t {
  kPlain,   ///< ASCII but for the labels, for files and pipes
  kShades,  ///< Unicode block elements
  kColor,   ///< 24-bit background colours (ISO 8613-6)
};

/// What is drawn on.
struct Terminal {
  HeatmapStyle style = HeatmapStyle::kPlain;
  std::size_t width = 80;  ///< columns
};

/// How to draw a panel in a terminal.
struct HeatmapOptions {
  Terminal terminal = {};
  std::size_t max_rows = 32;
  /// Where the scale ends. Default: the panel's largest weight.
  std::optional<double> max = std::nullopt;
  std::vector<std::string> query_labels = {};  ///< one per row; empty: numbers
  std::vector<std::string> key_labels = {};    ///< one per column
};

/// Draw a panel as lines of text: title, one labelled line per query, the
/// labels of the keys, a legend, and lines that say which rows are NaN and how
/// the panel had to be shrunk. Each weight is two characters wide. Shades run
/// from 0 to the end of the scale; NaN is shown as "??".
///
/// A row of a shrunk panel bears the number and label of its first query, and
/// keys are numbered only.
[[nodiscard]] std::string RenderHeatmap(const WeightsPanel& panel,
                                        const HeatmapOptions& options);

/// Draw small maps of the first `max_panels` panels side by side, on one scale
/// that ends at `max`, each weight one character wide.
[[nodiscard]] std::string RenderOverview(const WeightsPanels& panels,
                                         std::size_t max_panels, double max,
                                         const Terminal& terminal);

}  // namespace attention
