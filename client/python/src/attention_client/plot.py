# SPDX-License-Identifier: Apache-2.0
"""Pictures of attention weights. Needs matplotlib (the extra `plot`)."""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence

import numpy as np
import numpy.typing as npt

from ._tensors import Array, is_torch

_COLUMNS = 4
_PANEL_INCHES = 3.2


def plot_attention(
    weights: Array,
    query_tokens: Optional[Sequence[str]] = None,
    key_tokens: Optional[Sequence[str]] = None,
    *,
    sequence: int = 0,
    title: Optional[str] = None,
) -> Any:
    """Draw a heatmap of attention weights for each head.

        result = client.forward(name, x, need_weights=True,
                                average_attn_weights=False)
        plot_attention(result.weights, words).savefig("weights.png")

    Args:
        weights: (L, S), per head (H, L, S), or of a batch per head (N, H, L, S),
            as `forward` returns them. Of an averaged batch (N, L, S) pass one
            sequence's.
        query_tokens: L labels of the rows.
        key_tokens: S labels of the columns, or fewer where the module appends
            columns (bias_k, zero), which are labelled so. Default: query_tokens,
            where S permits.
        sequence: which sequence of a batch.
        title: of the whole figure.

    Returns:
        A matplotlib.figure.Figure, in no window: show or save it.

    Raises:
        ValueError: weights or labels of another shape.
    """
    from matplotlib.figure import Figure

    heads = _heads(weights, sequence)
    count, rows, columns = heads.shape
    if key_tokens is None and query_tokens is not None and columns >= rows:
        key_tokens = query_tokens
    row_labels = _labels("query_tokens", query_tokens, rows, appended=0)
    column_labels = _labels("key_tokens", key_tokens, columns, appended=2)
    width = min(count, _COLUMNS)
    height = math.ceil(count / width)
    figure = Figure(
        figsize=(_PANEL_INCHES * width + 1, _PANEL_INCHES * height),
        layout="constrained",
    )
    grid = figure.subplots(height, width, squeeze=False)
    scale = float(np.nanmax(heads, initial=0.0)) or 1.0
    panels: Any = grid.flat
    for number, axes in enumerate(panels):
        if number >= count:
            axes.set_visible(False)
            continue
        image = axes.imshow(heads[number], vmin=0.0, vmax=scale, cmap="viridis")
        _label(axes, row_labels, column_labels)
        if count > 1:
            axes.set_title(f"head {number}")
    figure.colorbar(image, ax=grid, shrink=0.8, label="attention weight")
    if title is not None:
        figure.suptitle(title)
    return figure


def _heads(weights: Array, sequence: int) -> npt.NDArray[Any]:
    """(H, L, S) in float64."""
    given: Any = weights
    if is_torch(given):
        given = given.detach().cpu().double().numpy()
    heads: npt.NDArray[Any] = np.asarray(given, dtype=np.float64)
    if heads.ndim == 4:
        heads = heads[sequence]
    if heads.ndim == 2:
        heads = heads[np.newaxis]
    if heads.ndim != 3 or heads.size == 0:
        raise ValueError(
            "weights: expected (L, S), (H, L, S) or (N, H, L, S) without a zero, "
            f"got {np.shape(given)}"
        )
    return heads


def _labels(
    name: str, tokens: Optional[Sequence[str]], count: int, appended: int
) -> Optional[Sequence[str]]:
    if tokens is None:
        return None
    missing = count - len(tokens)
    if not 0 <= missing <= appended:
        raise ValueError(f"{name}: expected {count} labels, got {len(tokens)}")
    return [*tokens, *["(appended)"] * missing]


def _label(
    axes: Any, rows: Optional[Sequence[str]], columns: Optional[Sequence[str]]
) -> None:
    axes.set_xlabel("key")
    axes.set_ylabel("query")
    if rows is not None:
        axes.set_yticks(range(len(rows)), labels=rows)
    if columns is not None:
        axes.set_xticks(range(len(columns)), labels=columns, rotation=90)
