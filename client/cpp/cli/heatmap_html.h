// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "client/cpp/cli/heatmap.h"

namespace attention {

/// Limits of a page, so that a browser can open it: 64 panels of 256 x 256
/// cells are about 30 MB.
inline constexpr std::size_t kMaxHtmlPanels = 64;
inline constexpr std::size_t kMaxHtmlPanelSide = 256;

/// Make a self-contained HTML page with one heatmap per panel: data, style and
/// script are inside, nothing is loaded from elsewhere. Pointing at a cell
/// shows query, key and weight. Follows the reader's light or dark setting.
/// Panels larger than kMaxHtmlPanelSide are shrunk, and the page says so.
/// \param title is escaped.
[[nodiscard]] std::string RenderHeatmapPage(std::string_view title,
                                            const Panels& panels);

}  // namespace attention
