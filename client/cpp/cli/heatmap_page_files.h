// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace attention {

/// The files in page/ at build time, both scripts as one.
[[nodiscard]] const char* HeatmapHtml();
[[nodiscard]] const char* HeatmapCss();
[[nodiscard]] const char* HeatmapJs();

}  // namespace attention
