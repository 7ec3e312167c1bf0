// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/heatmap_html.h"

#include <cmath>
#include <format>

#include "client/cpp/cli/color_map.h"

namespace attention {
namespace {

constexpr std::string_view kStyle = R"css(
:root { color-scheme: light dark; --bg: #ffffff; --fg: #1b1b1f; --dim: #61646b;
  --line: #d9dbe0; --card: #f6f7f9; }
@media (prefers-color-scheme: dark) { :root { --bg: #15161a; --fg: #e8e9ed;
  --dim: #9ea2ab; --line: #34363d; --card: #1d1f24; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 24px; background: var(--bg); color: var(--fg);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { margin: 0 0 4px; font-size: 21px; overflow-wrap: anywhere; }
p { margin: 0 0 20px; color: var(--dim); }
main { display: grid; gap: 18px;
  grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); }
figure { margin: 0; padding: 14px; border: 1px solid var(--line);
  border-radius: 8px; background: var(--card); }
figcaption { font-weight: 600; margin-bottom: 8px; }
small { display: block; color: var(--dim); font-weight: 400; }
.plot { display: grid; grid-template-columns: 20px 1fr; gap: 4px; }
.rows { writing-mode: vertical-rl; transform: rotate(180deg);
  text-align: center; }
canvas { width: 100%; image-rendering: pixelated; border: 1px solid var(--line);
  cursor: crosshair; }
.columns { grid-column: 2; text-align: center; }
.legend { display: flex; gap: 8px; align-items: center; margin-top: 8px;
  font-variant-numeric: tabular-nums; font-size: 13px; color: var(--dim); }
.bar { flex: 1; height: 10px; border-radius: 3px; }
output { display: block; min-height: 1.45em; margin-top: 6px; font-size: 13px;
  font-variant-numeric: tabular-nums; }
)css";

constexpr std::string_view kScript = R"js(
const css = c => `rgb(${c.map(Math.round).join(',')})`;
function colorOf(t) {
  const x = Math.min(Math.max(t, 0), 1) * (COLORS.length - 1);
  const i = Math.min(Math.floor(x), COLORS.length - 2);
  return COLORS[i].map((from, k) => from + (x - i) * (COLORS[i + 1][k] - from));
}
function make(tag, parent, text, className) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  if (className) node.className = className;
  parent.append(node);
  return node;
}
function span(cell, cells, total) {
  const first = Math.floor(cell * total / cells);
  const last = Math.floor((cell + 1) * total / cells) - 1;
  return first === last ? `${first}` : `${first}\u2013${last}`;
}
function draw(canvas, panel) {
  canvas.width = Math.max(panel.columns, 1);
  canvas.height = Math.max(panel.rows, 1);
  canvas.style.aspectRatio = `${Math.min(Math.max(
      panel.totalColumns / Math.max(panel.totalRows, 1), 0.4), 4)}`;
  const context = canvas.getContext('2d');
  const image = context.createImageData(canvas.width, canvas.height);
  panel.values.forEach((value, i) => {
    const color = value === null ? [214, 69, 65]
                                 : colorOf(panel.max > 0 ? value / panel.max : 0);
    image.data.set([...color, 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
}
function show(panel) {
  const figure = make('figure', document.querySelector('main'));
  const caption = make('figcaption', figure, panel.title);
  const shrunk = panel.rows < panel.totalRows ||
                 panel.columns < panel.totalColumns;
  make('small', caption, `${panel.totalRows} queries \u00d7 ` +
      `${panel.totalColumns} keys` + (shrunk ? `, shown as ${panel.rows} ` +
      `\u00d7 ${panel.columns} cells, each a mean` : ''));
  const plot = make('div', figure, '', 'plot');
  make('small', plot, 'query', 'rows');
  const canvas = make('canvas', plot);
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', `attention weights, ${panel.title}`);
  make('small', plot, 'key', 'columns');
  const legend = make('div', figure, '', 'legend');
  make('span', legend, '0');
  make('div', legend, '', 'bar').style.background =
      `linear-gradient(to right, ${COLORS.map(css).join(',')})`;
  make('span', legend, panel.max.toPrecision(4));
  const readout = make('output', figure);
  draw(canvas, panel);
  canvas.addEventListener('pointermove', event => {
    const box = canvas.getBoundingClientRect();
    const at = (offset, size, cells) => Math.min(Math.max(
        Math.floor(offset / size * cells), 0), cells - 1);
    const column = at(event.clientX - box.left, box.width, panel.columns);
    const row = at(event.clientY - box.top, box.height, panel.rows);
    const value = panel.values[row * panel.columns + column];
    if (value === undefined) return;
    readout.textContent =
        `query ${span(row, panel.rows, panel.totalRows)}, ` +
        `key ${span(column, panel.columns, panel.totalColumns)}: ` +
        (value === null ? 'NaN' : value.toPrecision(4));
  });
  canvas.addEventListener('pointerleave', () => readout.textContent = '');
}
PANELS.forEach(show);
)js";

std::string EscapeHtml(std::string_view text) {
  std::string escaped;
  for (const char character : text) {
    switch (character) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += character;
    }
  }
  return escaped;
}

std::string ColorsToJson() {
  std::string json;
  for (const Color& color : kViridis) {
    json += std::format("{}[{},{},{}]", json.empty() ? "" : ",", color.red,
                        color.green, color.blue);
  }
  return std::format("[{}]", json);
}

// The title is one SelectPanels made: nothing in it needs escaping.
std::string PanelToJson(const WeightsPanel& panel) {
  const WeightsPanel small =
      Subsample(panel, kMaxHtmlPanelSide, kMaxHtmlPanelSide);
  std::string values;
  for (const double value : small.values) {
    if (!values.empty()) values += ',';
    values += std::isfinite(value) ? std::format("{:.4g}", value) : "null";
  }
  return std::format(
      "{{\"title\":\"{}\",\"rows\":{},\"columns\":{},\"totalRows\":{},"
      "\"totalColumns\":{},\"max\":{:.6g},\"values\":[{}]}}",
      panel.title, small.num_rows, small.num_columns, panel.num_rows,
      panel.num_columns, small.max(), values);
}

}  // namespace

std::string RenderHeatmapPage(std::string_view title, const Panels& panels) {
  std::string data;
  for (const WeightsPanel& panel : panels.panels) {
    data += (data.empty() ? "" : ",\n") + PanelToJson(panel);
  }
  const std::string note =
      panels.panels.size() < panels.num_available
          ? std::format("the first {} of {} matrices", panels.panels.size(),
                        panels.num_available)
          : std::format("{} matri{}", panels.num_available,
                        panels.num_available == 1 ? "x" : "ces");
  return std::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">\n<title>{0}</title>\n<style>{1}</style>\n</head>\n"
      "<body>\n<h1>{0}</h1>\n<p>Attention weights: {2}. Point at a cell to "
      "read "
      "it; red is NaN.</p>\n<main></main>\n<script>\n\"use strict\";\n"
      "const COLORS = {3};\nconst PANELS = [\n{4}\n];\n{5}</script>\n</body>\n"
      "</html>\n",
      EscapeHtml(title), kStyle, note, ColorsToJson(), data, kScript);
}

}  // namespace attention
