// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/heatmap.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <format>
#include <limits>
#include <string_view>

#include "client/cpp/cli/color_map.h"
#include "client/cpp/cli/tensor_values.h"

namespace attention {
namespace {

constexpr std::string_view kPlainShades = " .:-=+*#%@";
constexpr std::array<std::string_view, 5> kBlockShades = {" ", "░", "▒", "▓",
                                                          "█"};

std::size_t ShadeIndex(double value, std::size_t num_shades) {
  const double scaled =
      std::clamp(value, 0.0, 1.0) * static_cast<double>(num_shades - 1);
  return static_cast<std::size_t>(std::lround(scaled));
}

// Draw a value in [0, 1] as two characters: about a square.
std::string Cell(double value, HeatmapStyle style) {
  if (std::isnan(value)) return "??";
  switch (style) {
    case HeatmapStyle::kPlain:
      return std::string(2,
                         kPlainShades[ShadeIndex(value, kPlainShades.size())]);
    case HeatmapStyle::kShades: {
      const std::string_view shade =
          kBlockShades[ShadeIndex(value, kBlockShades.size())];
      return std::format("{0}{0}", shade);
    }
    case HeatmapStyle::kColor: {
      const Color color = ColorOf(value);
      return std::format("\x1b[48;2;{};{};{}m  \x1b[0m", color.red, color.green,
                         color.blue);
    }
  }
  return "??";
}

std::string Legend(double max, HeatmapStyle style) {
  constexpr int kSteps = 8;
  std::string scale;
  for (int step = 0; step <= kSteps; ++step) {
    scale += Cell(static_cast<double>(step) / kSteps, style);
  }
  return std::format("0 {} {:.4g}", scale, max);
}

double BlockMean(const WeightsPanel& panel, std::size_t first_row,
                 std::size_t end_row, std::array<std::size_t, 2> columns) {
  double sum = 0.0;
  std::size_t count = 0;
  for (std::size_t row = first_row; row < end_row; ++row) {
    for (std::size_t column = columns[0]; column < columns[1]; ++column) {
      const double value = panel.at(row, column);
      if (std::isnan(value)) continue;
      sum += value;
      ++count;
    }
  }
  return count > 0 ? sum / static_cast<double>(count)
                   : std::numeric_limits<double>::quiet_NaN();
}

std::string PanelTitle(const PanelSelection& selection, std::size_t sequence,
                       std::size_t head) {
  const std::string what =
      selection.per_head ? std::format("head {}", head) : "mean over heads";
  return selection.batched ? std::format("sequence {}, {}", sequence, what)
                           : what;
}

}  // namespace

double WeightsPanel::max() const {
  double max = 0.0;
  for (const double value : values) {
    if (std::isfinite(value)) max = std::max(max, value);
  }
  return max;
}

Panels SelectPanels(const TensorView& weights,
                    const PanelSelection& selection) {
  const Shape& shape = weights.shape;
  assert(shape.rank() ==
         2U + (selection.batched ? 1 : 0) + (selection.per_head ? 1 : 0));
  const auto dim = [&shape](std::size_t axis) {
    return static_cast<std::size_t>(shape.dim(axis));
  };
  const std::size_t num_sequences = selection.batched ? dim(0) : 1;
  const std::size_t num_heads = selection.per_head ? dim(shape.rank() - 3) : 1;
  const std::size_t num_rows = dim(shape.rank() - 2);
  const std::size_t num_columns = dim(shape.rank() - 1);

  Panels result;
  result.num_available = num_sequences * num_heads;
  for (std::size_t n = 0; n < std::min(num_sequences, selection.max_sequences);
       ++n) {
    for (std::size_t h = 0; h < std::min(num_heads, selection.max_heads); ++h) {
      const std::size_t size = num_rows * num_columns;
      result.panels.push_back(
          {.title = PanelTitle(selection, n, h),
           .num_rows = num_rows,
           .num_columns = num_columns,
           .values = ReadValues(weights, (n * num_heads + h) * size, size)});
    }
  }
  return result;
}

WeightsPanel Subsample(const WeightsPanel& panel, std::size_t max_rows,
                       std::size_t max_columns) {
  assert(max_rows > 0 && max_columns > 0);
  WeightsPanel small = {.title = panel.title,
                        .num_rows = std::min(panel.num_rows, max_rows),
                        .num_columns = std::min(panel.num_columns, max_columns),
                        .values = {}};
  if (small.num_rows == panel.num_rows &&
      small.num_columns == panel.num_columns) {
    return panel;
  }
  small.values.reserve(small.num_rows * small.num_columns);
  for (std::size_t row = 0; row < small.num_rows; ++row) {
    const std::size_t first = row * panel.num_rows / small.num_rows;
    const std::size_t end = (row + 1) * panel.num_rows / small.num_rows;
    for (std::size_t column = 0; column < small.num_columns; ++column) {
      small.values.push_back(
          BlockMean(panel, first, end,
                    {column * panel.num_columns / small.num_columns,
                     (column + 1) * panel.num_columns / small.num_columns}));
    }
  }
  return small;
}

std::string RenderHeatmap(const WeightsPanel& panel,
                          const HeatmapOptions& options) {
  const WeightsPanel small =
      Subsample(panel, options.max_rows, options.max_columns);
  std::string text =
      std::format("{} (rows: {} queries, columns: {} keys)\n", panel.title,
                  panel.num_rows, panel.num_columns);
  const double max = small.max();
  const double scale = max > 0.0 ? 1.0 / max : 0.0;
  for (std::size_t row = 0; row < small.num_rows; ++row) {
    text += "  |";
    for (std::size_t column = 0; column < small.num_columns; ++column) {
      text += Cell(small.at(row, column) * scale, options.style);
    }
    text += "|\n";
  }
  text += std::format("  {}\n", Legend(max, options.style));
  if (small.values.size() != panel.values.size()) {
    text += std::format(
        "  shown as {} x {} cells, each the mean of about {:.1f} x {:.1f} "
        "weights\n",
        small.num_rows, small.num_columns,
        static_cast<double>(panel.num_rows) /
            static_cast<double>(small.num_rows),
        static_cast<double>(panel.num_columns) /
            static_cast<double>(small.num_columns));
  }
  return text;
}

}  // namespace attention
