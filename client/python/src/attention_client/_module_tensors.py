# SPDX-License-Identifier: Apache-2.0
"""A layer's weights as its module has them, out of a state dict."""

from __future__ import annotations

import functools
from typing import Any, Dict, List, Sequence

import numpy as np

from . import _layers
from ._checkpoint import StateDict, fail
from ._layers import FoundLayer, Part
from ._safetensors import Entry

# Bytes of an element.
_FLOATING = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def module_tensors(layer: FoundLayer, weights: StateDict) -> StateDict:
    """By the module's own names; read when they are written."""
    tensors = {
        own: _joined([_part(part, weights, like) for part in parts])
        for own, parts in layer.tensors.items()
        for like in [_dtype([*parts, layer.stored()[0]], weights)]
    }
    if not layer.transposed:
        return tensors
    return {own: _transposed(tensor) for own, tensor in tensors.items()}


def with_dtype(config: Dict[str, Any], tensors: StateDict) -> Dict[str, Any]:
    """The configuration; with a dtype that holds all, where weights have several."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) == 1:
        return config
    wide = "DATA_TYPE_FLOAT64" if "F64" in dtypes else "DATA_TYPE_FLOAT32"
    ((kind, fields),) = config.items()
    if kind == _layers.ENCODER:
        return {kind: {**fields, "layer": {**fields["layer"], "dtype": wide}}}
    return {kind: {**fields, "dtype": wide}}


def _dtype(parts: Sequence[Part], weights: StateDict) -> str:
    """That of the first part that is stored: zeros beside it have it too."""
    return next(weights[part].dtype for part in parts if isinstance(part, str))


def _part(part: Part, weights: StateDict, like: str) -> Entry:
    if isinstance(part, int):
        count = part * _FLOATING.get(like, 1)
        return Entry(like, (part,), functools.partial(bytes, count))
    if weights[part].dtype not in _FLOATING:
        fail(
            f"{part} is {weights[part].dtype}: expected one of {', '.join(_FLOATING)}; "
            "take the weights before they were quantized"
        )
    return weights[part]


def _joined(parts: List[Entry]) -> Entry:
    """Biases, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    if len({part.dtype for part in parts}) != 1:
        fail("q_bias and v_bias have different dtypes")
    count = sum(part.shape[0] for part in parts)
    return Entry(
        parts[0].dtype, (count,), lambda: b"".join(part.read() for part in parts)
    )


def _transposed(tensor: Entry) -> Entry:
    """A matrix the other way round; other tensors as they are."""
    if len(tensor.shape) != 2:
        return tensor

    def read() -> bytes:
        numbers = np.frombuffer(tensor.read(), f"u{_FLOATING[tensor.dtype]}")
        return bytes(numbers.reshape(tensor.shape).T.tobytes())

    return Entry(tensor.dtype, tensor.shape[::-1], read)
