// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace attention {

/// The files in page/ at build time, both scripts as one.
extern const char kHeatmapHtml[];
extern const char kHeatmapCss[];
extern const char kHeatmapJs[];

}  // namespace attention
