# SPDX-License-Identifier: Apache-2.0
"""Pictures of attention weights. Needs matplotlib (the extra `plot`)."""

from __future__ import annotations

import math
import unicodedata
from typing import (
    Any,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
    cast,
)

import numpy as np
import numpy.typing as npt

from ._tensors import Array, is_torch

Weights = Union[Array, Sequence[Array]]
"""Of a batch as one array, or of a ragged batch one array for each sequence."""

Tokens = Union[Sequence[str], Sequence[Sequence[str]]]
"""Labels of an axis: for all sequences alike, or one list for each."""

_COLUMNS = 4
_POINTS = 72.0  # in an inch
_FONT_POINTS = 8.0
_LABEL_POINTS = 11.5  # from one label to the next
_LEAST_SIDE = 2.2  # of a panel, in inches
_MARGIN = 0.42  # beside labels: ticks and the axis's name; above a panel: title
_CELLS_PER_INCH = 80  # fewer than a figure has pixels
_LONGEST_LABEL = 16
_NAN_COLOR = "#d64541"
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class _Panel(NamedTuple):
    title: str
    weights: npt.NDArray[Any]
    query_labels: Optional[List[str]]
    key_labels: Optional[List[str]]


def plot_attention(
    weights: Union[Weights, Mapping[str, Weights]],
    query_tokens: Optional[Tokens] = None,
    key_tokens: Optional[Tokens] = None,
    *,
    sequence: Optional[int] = 0,
    averaged: bool = False,
    title: Optional[str] = None,
) -> Any:
    """Draw a heatmap of attention weights for each head, all on one scale.

        result = client.forward(name, x, need_weights=True,
                                average_attn_weights=False)
        plot_attention(result.weights, words).savefig("weights.png")

    Where there is no room for every label, it is every second, fifth, tenth …,
    behind its number; where a weight has less than a pixel, a cell is the largest
    of several. A query that sees no key (NaN) is a red row. Labels in scripts that
    matplotlib's font lacks need another: rcParams["font.family"].

    Args:
        weights: (L, S), per head (H, L, S), or of a batch per head (N, H, L, S),
            as `forward` returns them; of a ragged batch the list it returns; of
            several layers a mapping from their names to such weights.
        query_tokens: L labels of the rows, or a list of them for each sequence.
        key_tokens: S labels of the columns, or fewer where the module appends
            columns (bias_k, zero), which are labelled so. Default: query_tokens,
            where S permits.
        sequence: which sequence of a batch; None: all of them.
        averaged: the weights are averaged over the heads: (L, S) or (N, L, S).
        title: of the whole figure.

    Returns:
        A matplotlib.figure.Figure, in no window: show or save it.

    Raises:
        ImportError: matplotlib is not there.
        ValueError: weights or labels of another shape.
    """
    panels = _panels(weights, (query_tokens, key_tokens), sequence, averaged)
    layout = _Layout(panels, title is not None)
    figure = _figure_class()(figsize=layout.figure_size)
    scale = max(_largest(panel.weights) for panel in panels) or 1.0
    for number, panel in enumerate(panels):
        axes = figure.add_axes(layout.box(number))
        image = _draw(axes, layout.pooled(panel), panel.weights.shape, scale)
        if len(panels) > 1:
            axes.set_title(panel.title, fontsize=10, parse_math=False)
        _set_ticks(axes.yaxis, layout.row_ticks(panel))
        _set_ticks(axes.xaxis, layout.column_ticks(panel), rotation=90)
    figure.colorbar(
        image, cax=figure.add_axes(layout.color_bar()), label="attention weight"
    )
    if title is not None:
        figure.suptitle(title)
    return figure


def _panels(
    weights: Union[Weights, Mapping[str, Weights]],
    tokens: Tuple[Optional[Tokens], Optional[Tokens]],
    sequence: Optional[int],
    averaged: bool,
) -> List[_Panel]:
    layers = weights if isinstance(weights, Mapping) else {"": weights}
    panels = []
    for name, layer in layers.items():
        batch = _batch(layer, averaged)
        for n in _chosen(sequence, len(batch)):
            labels = _labels(batch[n].shape, tokens, n, len(batch))
            parts = [name] if name else []
            if sequence is None and len(batch) > 1:
                parts.append(f"sequence {n}")
            for h, head in enumerate(batch[n]):
                part = [] if averaged else [f"head {h}"]
                panels.append(_Panel(", ".join(parts + part), head, *labels))
    if not panels:
        raise ValueError("weights: expected at least one layer, got none")
    return panels


def _batch(weights: Weights, averaged: bool) -> List[npt.NDArray[Any]]:
    """(H, L, S) of each sequence, in float64."""
    if isinstance(weights, (list, tuple)):
        return [_batch(one, averaged)[0] for one in weights]
    given: Any = weights
    if is_torch(given):
        given = given.detach().cpu().double().numpy()
    array: npt.NDArray[Any] = np.asarray(given, dtype=np.float64)
    if array.size == 0 or not 2 <= array.ndim <= (3 if averaged else 4):
        more = "(N, L, S)" if averaged else "(H, L, S) or (N, H, L, S)"
        raise ValueError(
            f"weights: expected (L, S), {more} without a zero, got {array.shape}"
        )
    if averaged and array.ndim == 3:
        array = array[:, np.newaxis]
    return list(array.reshape((-1, *(1, 1, *array.shape)[-3:])))


def _chosen(sequence: Optional[int], count: int) -> Sequence[int]:
    if sequence is None:
        return range(count)
    if count == 1:  # of a batch of one, or of none
        return [0]
    if not -count <= sequence < count:
        raise ValueError(f"sequence: expected one of {count}, got {sequence}")
    return [sequence % count]


def _labels(
    shape: Tuple[int, ...],
    tokens: Tuple[Optional[Tokens], Optional[Tokens]],
    sequence: int,
    count: int,
) -> Tuple[Optional[List[str]], Optional[List[str]]]:
    """Of the rows and columns of one sequence of `count`."""
    rows, columns = shape[1:]
    queries = _of_sequence("query_tokens", tokens[0], sequence, count)
    keys = _of_sequence("key_tokens", tokens[1], sequence, count)
    if keys is None and columns >= rows:
        keys = queries
    return (
        _fit("query_tokens", queries, rows, appended=0),
        _fit("key_tokens", keys, columns, appended=2),
    )


def _of_sequence(
    name: str, tokens: Optional[Tokens], sequence: int, count: int
) -> Optional[Sequence[str]]:
    if tokens is None or len(tokens) == 0 or isinstance(tokens[0], str):
        return cast(Optional[Sequence[str]], tokens)
    if len(tokens) != count:
        raise ValueError(
            f"{name}: expected labels of {count} sequences, got {len(tokens)}"
        )
    return tokens[sequence]


def _fit(
    name: str, tokens: Optional[Sequence[str]], count: int, appended: int
) -> Optional[List[str]]:
    if tokens is None:
        return None
    missing = count - len(tokens)
    if not 0 <= missing <= appended:
        raise ValueError(f"{name}: expected {count} labels, got {len(tokens)}")
    return [*map(_visible, tokens), *["(appended)"] * missing]


def _visible(label: str) -> str:
    """What is not seen, or changes the direction of text, as an escape."""
    text = "".join(map(_visible_character, label))
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def _visible_character(character: str) -> str:
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    if not hidden or character in "\u200c\u200d":  # these join letters
        return character
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _largest(weights: npt.NDArray[Any]) -> float:
    return float(np.max(weights, initial=0.0, where=np.isfinite(weights)))


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "attention_client.plot needs matplotlib: "
            'pip install "attention-client[plot]"'
        ) from error
    return Figure


class _Ticks(NamedTuple):
    places: Sequence[int]
    texts: List[str]


class _Layout:
    """Where panels go, in inches from the lower left corner of the figure.

    A panel has room for up to 20 labels on either side, a single one for 48, and
    what its own labels take around it.
    """

    def __init__(self, panels: List[_Panel], titled: bool) -> None:
        most = 48 if len(panels) == 1 else 20
        rows, columns = (
            max(panel.weights.shape[axis] for panel in panels) for axis in (0, 1)
        )
        self._width = max(min(columns, most) * _LABEL_POINTS / _POINTS, _LEAST_SIDE)
        self._height = max(min(rows, most) * _LABEL_POINTS / _POINTS, _LEAST_SIDE)
        self._left = _MARGIN + max(
            _longest(self.row_ticks(panel).texts) for panel in panels
        )
        self._bottom = _MARGIN + max(
            _longest(self.column_ticks(panel).texts) for panel in panels
        )
        self._columns = min(len(panels), _COLUMNS)
        lines = math.ceil(len(panels) / self._columns)
        self._right = self._columns * (self._left + self._width) + _MARGIN / 2
        self._top = lines * (self._bottom + self._height + _MARGIN)
        self.figure_size = (self._right + 0.8, self._top + (_MARGIN if titled else 0))

    def row_ticks(self, panel: _Panel) -> _Ticks:
        return _make_ticks(panel.query_labels, panel.weights.shape[0], self._height)

    def column_ticks(self, panel: _Panel) -> _Ticks:
        return _make_ticks(panel.key_labels, panel.weights.shape[1], self._width)

    def pooled(self, panel: _Panel) -> npt.NDArray[Any]:
        """The weights, in no more cells than can be seen: the largest of each
        block, as a mean would hide single keys. NaN only where nothing else is."""
        pooled = panel.weights
        for axis, inches in enumerate((self._height, self._width)):
            count = pooled.shape[axis]
            cells = min(count, int(inches * _CELLS_PER_INCH))
            starts = np.arange(cells) * count // cells
            pooled = np.fmax.reduceat(pooled, starts, axis=axis)
        return pooled

    def box(self, number: int) -> List[float]:
        line, column = divmod(number, self._columns)
        left = column * (self._left + self._width) + self._left
        above = line * (self._bottom + self._height + _MARGIN)
        bottom = self._top - above - _MARGIN - self._height
        return self._shares(left, bottom, self._width, self._height)

    def color_bar(self) -> List[float]:
        height = min(self._top - 2 * _MARGIN, 2 * self._height)
        return self._shares(self._right, (self._top - height) / 2, 0.15, height)

    def _shares(self, *inches: float) -> List[float]:
        """Inches as shares of the figure's width and height."""
        return [value / self.figure_size[i % 2] for i, value in enumerate(inches)]


def _make_ticks(labels: Optional[List[str]], count: int, inches: float) -> _Ticks:
    places = range(0, count, _tick_step(inches * _POINTS / count))
    if labels is None:
        return _Ticks(places, [str(i) for i in places])
    if len(places) == count:
        return _Ticks(places, labels)
    return _Ticks(places, [f"{i} {labels[i]}" for i in places])


def _tick_step(points: float) -> int:
    """1, 2 or 5 times a power of ten elements, of so many points each."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if step * points >= 0.99 * _LABEL_POINTS:
                return step
        power *= 10


def _longest(texts: List[str]) -> float:
    """In inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=_FONT_POINTS)
    return (
        max(
            text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
            for text in texts
        )
        / _POINTS
    )


def _draw(
    axes: Any, cells: npt.NDArray[Any], shape: Tuple[int, ...], scale: float
) -> Any:
    from matplotlib import colormaps

    axes.set_xlabel("key", fontsize=9, labelpad=2)
    axes.set_ylabel("query", fontsize=9, labelpad=2)
    return axes.imshow(
        cells,
        vmin=0.0,
        vmax=scale,
        cmap=colormaps["viridis"].with_extremes(bad=_NAN_COLOR),
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5),
    )


def _set_ticks(axis: Any, ticks: _Ticks, rotation: int = 0) -> None:
    axis.set_ticks(
        ticks.places,
        labels=ticks.texts,
        fontsize=_FONT_POINTS,
        rotation=rotation,
        parse_math=False,
    )
