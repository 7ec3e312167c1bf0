// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "client/cpp/cli/heatmap.h"
#include "client/cpp/cli/token_labels.h"

namespace attention {

/// Limits of a page, so that a browser can open it. A cell takes 2.7 bytes: a
/// page of 2^23 cells, such as 32 heads of 512 x 512, has 22 MB.
inline constexpr std::size_t kMaxHtmlPanels = 1024;
inline constexpr std::size_t kMaxHtmlCells = std::size_t{1} << 23;

/// Make a self-contained HTML page of the panels: data, style and script are
/// inside, nothing is loaded from elsewhere. It shows all of them small, and
/// one large with labels, on one scale. Pointing at a cell, or going there with
/// the arrow keys, tells query, key and weight. Follows the reader's light or
/// dark setting.
///
/// Weights are stored as float16, which keeps three significant digits. Panels
/// are shrunk as Subsample does until all have no more than kMaxHtmlCells, and
/// the page says so; as it does when there are more than kMaxHtmlPanels.
/// \param title any text, as the labels are; none of it becomes markup.
[[nodiscard]] std::string RenderHeatmapPage(std::string_view title,
                                            const WeightsPanels& panels,
                                            const HeatmapLabels& labels);

}  // namespace attention
