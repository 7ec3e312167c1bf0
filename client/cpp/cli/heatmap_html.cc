// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/heatmap_html.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "client/cpp/cli/color_map.h"
#include "client/cpp/cli/heatmap_page_files.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

using nlohmann::json;

// Little-endian float16, as base64.
std::string EncodeValues(const std::vector<double>& values) {
  std::string bytes(values.size() * sizeof(std::uint16_t), '\0');
  StoreReals(values.data(), values.size(), DataType::kFloat16,
             reinterpret_cast<std::byte*>(bytes.data()));
  return absl::Base64Escape(bytes);
}

// The most cells along either side of each of `count` panels.
std::size_t MaxSide(const WeightsPanels& panels, std::size_t count) {
  std::size_t side = std::max(panels.num_rows(), panels.num_columns());
  const std::size_t budget = kMaxHtmlCells / std::max(count, std::size_t{1});
  const auto cells = [&panels](std::size_t most) {
    return std::min(panels.num_rows(), most) *
           std::min(panels.num_columns(), most);
  };
  while (cells(side) > budget) side = (side + 1) / 2;
  return std::max(side, std::size_t{1});
}

json PanelToJson(const WeightsPanel& panel, std::size_t max_side) {
  const WeightsPanel small = Subsample(panel, max_side, max_side);
  return {{"title", panel.title},
          {"head", panel.head},
          {"sequence", panel.sequence},
          {"rows", small.num_rows},
          {"columns", small.num_columns},
          {"nanRows", panel.nan_rows()},
          {"values", EncodeValues(small.values)}};
}

json ColorsToJson() {
  json colors = json::array();
  for (const Color& color : kViridis) {
    colors.push_back({color.red, color.green, color.blue});
  }
  return colors;
}

// What page/heatmap.js reads.
json PageData(std::string_view title, const WeightsPanels& panels,
              const HeatmapLabels& labels) {
  const std::size_t count = std::min(panels.size(), kMaxHtmlPanels);
  const std::size_t max_side = MaxSide(panels, count);
  json list = json::array();
  for (std::size_t i = 0; i < count; ++i) {
    list.push_back(PanelToJson(panels.Read(i), max_side));
  }
  return {{"title", title},
          {"rows", panels.num_rows()},
          {"columns", panels.num_columns()},
          {"available", panels.size()},
          {"batched", panels.batched()},
          {"max", panels.Max()},
          {"queries", labels.queries},
          {"keys", labels.keys},
          {"colors", ColorsToJson()},
          {"panels", std::move(list)}};
}

// In JSON "<" stands in strings only, where the escape means the same; so
// nothing in it can end the script element that holds it.
std::string ToScriptText(const json& data) {
  return absl::StrReplaceAll(data.dump(-1, ' ', /*ensure_ascii=*/false,
                                       json::error_handler_t::replace),
                             {{"<", "\\u003c"}});
}

}  // namespace

std::string RenderHeatmapPage(std::string_view title,
                              const WeightsPanels& panels,
                              const HeatmapLabels& labels) {
  const std::string data = ToScriptText(PageData(title, panels, labels));
  return absl::StrReplaceAll(HeatmapHtml(), {{"{{style}}", HeatmapCss()},
                                             {"{{script}}", HeatmapJs()},
                                             {"{{data}}", data}});
}

}  // namespace attention
