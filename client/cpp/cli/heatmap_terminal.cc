// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/heatmap_terminal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "client/cpp/cli/color_map.h"
#include "client/cpp/cli/text_cells.h"
#include "core/tensor/format_text.h"

namespace attention {
namespace {

constexpr std::string_view kPlainShades = " .:-=+*#%@";
constexpr std::array<std::string_view, 5> kBlockShades = {" ", "░", "▒", "▓",
                                                          "█"};
constexpr std::size_t kCellWidth = 2;  // about as wide as high
constexpr std::size_t kMaxRowLabel = 16;
constexpr std::size_t kMaxColumnLabel = 10;
constexpr std::size_t kMinTileColumns = 18;  // "sequence 2, head 7" above them
constexpr std::size_t kMaxTileColumns = 22;  // three tiles in 80 columns
constexpr std::string_view kTileGap = "  ";

std::size_t ShadeIndex(double value, std::size_t num_shades) {
  const double scaled =
      std::clamp(value, 0.0, 1.0) * static_cast<double>(num_shades - 1);
  return static_cast<std::size_t>(std::lround(scaled));
}

std::string Repeat(std::string_view text, std::size_t count) {
  std::string repeated;
  for (std::size_t i = 0; i < count; ++i) repeated += text;
  return repeated;
}

// Draw a value in [0, 1], or NaN, as `width` characters.
std::string Cell(double value, HeatmapStyle style, std::size_t width) {
  if (std::isnan(value)) {
    const std::string unknown = Repeat("?", width);
    return style == HeatmapStyle::kColor
               ? FormatText("\x1b[97;48;2;214;69;65m{}\x1b[0m", unknown)
               : unknown;
  }
  switch (style) {
    case HeatmapStyle::kPlain:
      return Repeat(
          kPlainShades.substr(ShadeIndex(value, kPlainShades.size()), 1),
          width);
    case HeatmapStyle::kShades:
      return Repeat(kBlockShades[ShadeIndex(value, kBlockShades.size())],
                    width);
    case HeatmapStyle::kColor: {
      const Color color = ColorOf(value);
      return FormatText("\x1b[48;2;{};{};{}m{}\x1b[0m", color.red, color.green,
                        color.blue, std::string(width, ' '));
    }
  }
  return Repeat("?", width);
}

// How values become shades: 0 to max.
struct Scale {
  double max = 0.0;
  HeatmapStyle style = HeatmapStyle::kPlain;
};

std::string Legend(const Scale& scale, bool has_nan) {
  constexpr int kSteps = 8;
  std::string text = "  0 ";
  for (int step = 0; step <= kSteps; ++step) {
    text += Cell(static_cast<double>(step) / kSteps, scale.style, kCellWidth);
  }
  text += FormatText(" {:.4g}", scale.max);
  if (has_nan) {
    text +=
        FormatText("   {} NaN", Cell(std::nan(""), scale.style, kCellWidth));
  }
  return text + '\n';
}

std::string_view Ellipsis(HeatmapStyle style) {
  return style == HeatmapStyle::kPlain ? "~" : "…";
}

// "3, 7-9, 12", of at most eight such parts.
std::string RangesToString(const std::vector<std::size_t>& numbers) {
  constexpr int kMaxParts = 8;
  std::string text;
  int parts = 0;
  for (std::size_t i = 0; i < numbers.size(); ++parts) {
    if (parts == kMaxParts) return text + ", ...";
    std::size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    text += FormatText("{}{}", parts == 0 ? "" : ", ", numbers[i]);
    if (end - i > 1) text += FormatText("-{}", numbers[end - 1]);
    i = end;
  }
  return text;
}

// What stands to the left of the rows, all equally wide.
struct RowLabels {
  std::vector<std::string> labels;
  std::size_t width = 0;
};

// Labels of `num_cells` rows; with more queries than that, the number of each
// row's first query stands before its label.
RowLabels LabelRows(const WeightsPanel& panel, std::size_t num_cells,
                    const HeatmapOptions& options) {
  const std::vector<std::string>& tokens = options.query_labels;
  std::vector<std::vector<TextCell>> labels;
  RowLabels rows;
  for (std::size_t row = 0; row < num_cells; ++row) {
    const std::size_t query = CellStart(row, num_cells, panel.num_rows);
    std::string label = std::to_string(query);
    if (!tokens.empty() && num_cells == panel.num_rows) {
      label = tokens[query];
    } else if (!tokens.empty()) {
      label = FormatText("{} {}", query, tokens[query]);
    }
    labels.push_back(
        Elide(CellsOf(label), kMaxRowLabel, Ellipsis(options.terminal.style)));
    rows.width = std::max(rows.width, WidthOf(labels.back()));
  }
  for (const std::vector<TextCell>& label : labels) {
    rows.labels.push_back(AlignRight(label, rows.width));
  }
  return rows;
}

// Numbers under the columns, as many as fit.
std::string ColumnNumbers(std::size_t num_cells, std::size_t num_columns) {
  const std::size_t digits = std::to_string(num_columns).size();
  std::size_t step = 1;
  for (const std::size_t candidate : {1U, 2U, 5U, 10U, 20U}) {
    step = candidate;
    if (step * kCellWidth > digits) break;
  }
  std::string line;
  for (std::size_t cell = 0; cell < num_cells; cell += step) {
    line.resize(cell * kCellWidth, ' ');
    line += std::to_string(CellStart(cell, num_cells, num_columns));
  }
  return line + '\n';
}

// Labels under the columns, read downwards, behind a margin.
std::string ColumnLabels(const std::vector<std::string>& labels,
                         const std::string& margin, HeatmapStyle style) {
  std::vector<std::vector<TextCell>> columns;
  std::size_t height = 0;
  for (const std::string& label : labels) {
    std::vector<TextCell>& cells = columns.emplace_back(CellsOf(label));
    if (cells.size() > kMaxColumnLabel) {
      cells.resize(kMaxColumnLabel - 1);
      cells.push_back({.text = std::string(Ellipsis(style))});
    }
    height = std::max(height, cells.size());
  }
  std::string text;
  for (std::size_t line = 0; line < height; ++line) {
    std::string characters = margin;
    for (const std::vector<TextCell>& cells : columns) {
      characters += line < cells.size() ? AlignLeft({cells[line]}, kCellWidth)
                                        : std::string(kCellWidth, ' ');
    }
    characters.erase(characters.find_last_not_of(' ') + 1);
    text += characters + '\n';
  }
  return text;
}

std::string ColumnAxis(const WeightsPanel& panel, std::size_t num_cells,
                       std::size_t margin, const HeatmapOptions& options) {
  const std::string space(margin, ' ');
  return options.key_labels.empty() || num_cells < panel.num_columns
             ? space + ColumnNumbers(num_cells, panel.num_columns)
             : ColumnLabels(options.key_labels, space, options.terminal.style);
}

// What else there is to know about a panel drawn as `small`.
std::string Notes(const WeightsPanel& panel, const WeightsPanel& small) {
  std::string text;
  if (const std::vector<std::size_t> rows = panel.nan_rows(); !rows.empty()) {
    text += FormatText("  queries that see no key (NaN): {}\n",
                       RangesToString(rows));
  }
  if (small.values.size() != panel.values.size()) {
    text += FormatText("  shown as {}\n", ShrinkageToString(small, panel));
  }
  return text;
}

bool HasNaN(const WeightsPanel& panel) {
  return std::ranges::any_of(panel.values,
                             [](double value) { return std::isnan(value); });
}

// A row of cells, each `width` characters wide.
std::string Row(const WeightsPanel& panel, std::size_t row, const Scale& scale,
                std::size_t width) {
  const double end = scale.max > 0.0 ? scale.max : 1.0;
  std::string text;
  for (std::size_t column = 0; column < panel.num_columns; ++column) {
    text += Cell(panel.at(row, column) / end, scale.style, width);
  }
  return text;
}

// A small map of up to `width` columns: its title, then its rows, each a
// character high and so as high as two are wide.
std::vector<std::string> Tile(const WeightsPanel& panel, const Scale& scale,
                              std::size_t width) {
  const std::size_t columns = std::min(panel.num_columns, width);
  const std::size_t rows = panel.num_rows * columns /
                           std::max(panel.num_columns * 2, std::size_t{1});
  const WeightsPanel small = Subsample(
      panel, std::clamp(rows, std::size_t{1}, kMaxTileColumns), width);
  const std::size_t outer = width + 2;
  std::vector<std::string> lines = {AlignLeft(
      Elide(CellsOf(panel.title), outer, Ellipsis(scale.style)), outer)};
  for (std::size_t row = 0; row < small.num_rows; ++row) {
    lines.push_back(FormatText("|{}|{}", Row(small, row, scale, 1),
                               std::string(width - columns, ' ')));
  }
  return lines;
}

}  // namespace

std::string RenderHeatmap(const WeightsPanel& panel,
                          const HeatmapOptions& options) {
  const std::size_t num_rows = std::min(panel.num_rows, options.max_rows);
  const RowLabels labels = LabelRows(panel, num_rows, options);
  const std::size_t margin = labels.width + 4;
  const std::size_t width =
      std::max(options.terminal.width, margin + 1 + kCellWidth);
  const WeightsPanel small =
      Subsample(panel, options.max_rows, (width - margin - 1) / kCellWidth);
  const Scale scale = {.max = options.max.value_or(panel.max()),
                       .style = options.terminal.style};
  std::string text = FormatText("{} (rows: {} queries, columns: {} keys)\n",
                                panel.title, panel.num_rows, panel.num_columns);
  for (std::size_t row = 0; row < small.num_rows; ++row) {
    text += FormatText("  {} |{}|\n", labels.labels[row],
                       Row(small, row, scale, kCellWidth));
  }
  return text + ColumnAxis(panel, small.num_columns, margin, options) +
         Legend(scale, HasNaN(panel)) + Notes(panel, small);
}

std::string RenderOverview(const WeightsPanels& panels, std::size_t max_panels,
                           double max, const Terminal& terminal) {
  const Scale scale = {.max = max, .style = terminal.style};
  const std::size_t width =
      std::clamp(panels.num_columns(), kMinTileColumns, kMaxTileColumns);
  const std::size_t stride = width + 2 + kTileGap.size();
  const std::size_t per_line =
      std::max((terminal.width + kTileGap.size()) / stride, std::size_t{1});
  const std::size_t count = std::min(panels.size(), max_panels);
  std::string text;
  bool has_nan = false;
  for (std::size_t first = 0; first < count; first += per_line) {
    std::vector<std::string> lines;
    for (std::size_t i = first; i < std::min(first + per_line, count); ++i) {
      const WeightsPanel panel = panels.Read(i);
      has_nan |= HasNaN(panel);
      const std::vector<std::string> tile = Tile(panel, scale, width);
      lines.resize(tile.size());
      for (std::size_t line = 0; line < tile.size(); ++line) {
        lines[line] += std::string(i == first ? "" : kTileGap) + tile[line];
      }
    }
    for (const std::string& line : lines) text += line + '\n';
    text += '\n';
  }
  return text + Legend(scale, has_nan);
}

}  // namespace attention
