# SPDX-License-Identifier: Apache-2.0
"""The ratios as bars, in SVG, to be read on a light and on a dark page."""

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

from workers import ONNX, OPENVINO, PEERS, TORCH

# Middle tones: a contrast of at least 3 with white and with GitHub's dark page.
TEXT = "#7d8590"
COLOURS = {TORCH: "#e8590c", ONNX: "#3b82d6", OPENVINO: "#8b6fc9"}
BARS = 0.78  # of a row, for all peers
INCHES_PER_ROW = 0.42


def _panel(axes, rows, dtype):
    names = [row["name"] for row in rows]
    places = range(len(rows))
    peers = [peer for peer in PEERS
             if any(peer in row["ratio"] for row in rows)]
    bar = BARS / len(peers)
    offsets = {peer: (index - (len(peers) - 1) / 2) * bar
               for index, peer in enumerate(peers)}
    for peer in peers:
        ratios = [row["ratio"].get(peer, 0) for row in rows]
        bars = axes.barh([place + offsets[peer] for place in places], ratios,
                         bar, color=COLOURS[peer], label=f"against {peer}")
        axes.bar_label(bars, [f"{ratio:.2f}" if ratio else "" for ratio in
                              ratios], padding=2, fontsize=7, color=TEXT)
    axes.axvline(1, color=TEXT, linewidth=1)
    axes.set_yticks(list(places), names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.01)
    axes.set_title(dtype, fontsize=10, color=TEXT, loc="left")
    axes.set_xlabel("times as fast (1 = as fast)", fontsize=8, color=TEXT)
    axes.tick_params(colors=TEXT, labelsize=8, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(TEXT)
    axes.legend(frameon=False, fontsize=8, labelcolor=TEXT, ncols=3,
                handlelength=1, loc="lower right", bbox_to_anchor=(1, 1),
                borderpad=0)


def draw(results, path):
    """Draw the rows measured with the most threads, a panel for each dtype."""
    threads = max(row["threads"] for row in results["rows"])
    rows = [row for row in results["rows"] if row["threads"] == threads]
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    pyplot.rcParams["svg.fonttype"] = "none"
    pyplot.rcParams["font.family"] = "sans-serif"
    height = 1.2 + INCHES_PER_ROW * max(
        sum(row["dtype"] == dtype for row in rows) for dtype in dtypes)
    figure, panels = pyplot.subplots(
        1, len(dtypes), figsize=(5.6 * len(dtypes), height), squeeze=False)
    for axes, dtype in zip(panels[0], dtypes):
        _panel(axes, [row for row in rows if row["dtype"] == dtype], dtype)
    figure.suptitle(f"{results['machine']['cpu']}, {threads} threads; rows: "
                    "N,L,E,H", fontsize=9, color=TEXT)
    figure.tight_layout()
    figure.savefig(path, format="svg", transparent=True,
                   metadata={"Date": None})
    pyplot.close(figure)
