# SPDX-License-Identifier: Apache-2.0
"""Writes the safetensors format, a piece at a time.

Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Dict, Iterator, Mapping, Optional

from ._tensors import Array, dtype_name, to_bytes

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "bool": "BOOL",
}
_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "BOOL": 1}


def pieces(
    tensors: Mapping[str, Array], metadata: Optional[Mapping[str, str]] = None
) -> Iterator[bytes]:
    """The bytes of a file: its header, then each tensor.

    Only one tensor's bytes exist at a time. The most strictly aligned dtypes come
    first, so that every tensor is aligned to its dtype.
    """
    header: Dict[str, object] = {}
    if metadata:
        header["__metadata__"] = dict(metadata)
    dtypes = {name: _NAMES[dtype_name(tensor)] for name, tensor in tensors.items()}
    order = sorted(tensors, key=lambda name: (-_SIZES[dtypes[name]], name))
    offset = 0
    for name in order:
        shape = [int(size) for size in tensors[name].shape]
        end = offset + math.prod(shape) * _SIZES[dtypes[name]]
        header[name] = {
            "dtype": dtypes[name],
            "shape": shape,
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in order:
        yield to_bytes(tensors[name])


def size(tensors: Mapping[str, Array]) -> int:
    """Bytes of all tensors together."""
    return sum(
        math.prod(tensor.shape) * _SIZES[_NAMES[dtype_name(tensor)]]
        for tensor in tensors.values()
    )


def chunks(parts: Iterator[bytes], longest: int) -> Iterator[bytes]:
    """The same bytes in pieces of at most `longest`."""
    for part in parts:
        view = memoryview(part)
        for begin in range(0, len(view), longest):
            yield bytes(view[begin : begin + longest])
