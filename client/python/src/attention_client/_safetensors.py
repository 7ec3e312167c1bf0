# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the safetensors format, a tensor at a time.

Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import struct
from typing import Any, Callable, Container, Dict, Iterator, List, Mapping
from typing import Optional, Tuple

from ._tensors import Array, dtype_name, element_name, to_bytes

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "bool": "BOOL",
    # Not the service's, but what masks in old files are.
    "uint8": "U8",
}
# Bits of an element.
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
LONGEST_HEADER = 100_000_000
"""Bytes of JSON, at most."""
_MOST_DIMS = 64


class FormatError(ValueError):
    """A file that does not follow the format."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor of a file.

    Attributes:
        dtype: of its elements, as the format calls it: "F32".
        shape: its dimensions.
        read: makes the bytes of its elements, row-major and little-endian.
    """

    dtype: str
    shape: Tuple[int, ...]
    read: Callable[[], bytes]


def entry(array: Array) -> Entry:
    """An array as it is written; TypeError where its dtype has no name here."""
    name = element_name(array)
    dtype = _NAMES.get(name) or _NAMES[dtype_name(array)]
    shape = tuple(int(size) for size in array.shape)
    return Entry(dtype, shape, functools.partial(to_bytes, array))


def pieces(
    tensors: Mapping[str, Array], metadata: Optional[Mapping[str, str]] = None
) -> Iterator[bytes]:
    """The bytes of a file of arrays: see `file_pieces`."""
    return file_pieces({n: entry(tensor) for n, tensor in tensors.items()}, metadata)


def file_pieces(
    entries: Mapping[str, Entry], metadata: Optional[Mapping[str, str]] = None
) -> Iterator[bytes]:
    """The bytes of a file: its header, then each tensor.

    Only one tensor's bytes exist at a time. The most strictly aligned dtypes come
    first, so that every tensor is aligned to its dtype.
    """
    header: Dict[str, object] = {}
    if metadata:
        header["__metadata__"] = dict(metadata)
    order = sorted(entries, key=lambda name: (-_BITS[entries[name].dtype], name))
    offset = 0
    for name in order:
        end = offset + _num_bytes(entries[name])
        header[name] = {
            "dtype": entries[name].dtype,
            "shape": list(entries[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in order:
        yield entries[name].read()


def size(tensors: Mapping[str, Array]) -> int:
    """Bytes of all tensors together."""
    return sum(_num_bytes(entry(tensor)) for tensor in tensors.values())


def _num_bytes(tensor: Entry) -> int:
    return math.prod(tensor.shape) * _BITS[tensor.dtype] // 8


def chunks(parts: Iterator[bytes], longest: int) -> Iterator[bytes]:
    """The same bytes in pieces of at most `longest`."""
    for part in parts:
        view = memoryview(part)
        for begin in range(0, len(view), longest):
            yield bytes(view[begin : begin + longest])


def read(path: str) -> Dict[str, Entry]:
    """The tensors of a file, by name; their elements are read when asked for.

    FormatError where the file is not exactly what the format says. A name that the
    writer left out because it means another's tensor, and noted in the metadata
    (safetensors.torch.save_model does), is there too.
    """
    file_bytes = os.path.getsize(path)
    with open(path, "rb") as file:
        header, begin = _header(file.read(8), file_bytes, file.read)
    metadata = header.pop("__metadata__", {})
    if not _is_strings(metadata):
        raise FormatError("__metadata__: expected an object of strings")
    entries, spans = {}, []
    for name, fields in header.items():
        entries[name], span = _entry_in(path, name, fields, begin)
        spans.append((span, name))
    _check_spans(sorted(spans), file_bytes - begin)
    for name, meant in metadata.items():
        if meant in header:
            entries.setdefault(name, entries[meant])
    return entries


def _header(
    length: bytes, file_bytes: int, read: Callable[[int], bytes]
) -> Tuple[Dict[str, Any], int]:
    """The parsed header, and where the tensors begin."""
    count = int.from_bytes(length, "little")
    if len(length) < 8 or count > min(LONGEST_HEADER, file_bytes - 8):
        raise FormatError(f"a header of {count} bytes in a file of {file_bytes}")
    try:
        header = json.loads(
            read(count).decode(), object_pairs_hook=_distinct, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise FormatError(f"header: {error}") from error
    if not isinstance(header, dict):
        raise FormatError("header: expected an object")
    return header, 8 + count


def _distinct(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name occurs twice")
    return made


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _is_strings(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _entry_in(
    path: str, name: str, fields: Any, begin: int
) -> Tuple[Entry, Tuple[int, int]]:
    """A tensor the header describes, and its bytes' place behind the header."""
    if not isinstance(fields, dict):
        raise FormatError(f"{name}: expected an object")
    dtype: Any = fields.get("dtype")
    shape: Any = fields.get("shape")
    offsets: Any = fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise FormatError(f"{name}: dtype {dtype!r} is not known")
    if not _is_sizes(shape, range(_MOST_DIMS + 1)) or not _is_sizes(offsets, [2]):
        raise FormatError(f"{name}: expected a shape and two data_offsets")
    first, last = offsets
    if math.prod(shape) * _BITS[dtype] != 8 * (last - first):
        raise FormatError(f"{name}: {dtype} of shape {shape} in {last - first} bytes")
    reader = functools.partial(_read_span, path, begin + first, last - first)
    return Entry(dtype, tuple(shape), reader), (first, last)


def _is_sizes(value: Any, counts: Container[int]) -> bool:
    """Whether this is a list of sizes, as many as `counts` has."""
    if not isinstance(value, list) or len(value) not in counts:
        return False
    return all(type(number) is int and 0 <= number < 1 << 63 for number in value)


def _check_spans(spans: List[Tuple[Tuple[int, int], str]], data_bytes: int) -> None:
    """Tensors lie one behind the other, from the first byte to the file's last."""
    end = 0
    for (first, last), name in spans:
        if first != end:
            raise FormatError(f"{name}: begins at {first}, expected {end}")
        end = last
    if end != data_bytes:
        raise FormatError(f"{data_bytes} bytes of tensors, expected {end}")


def _read_span(path: str, begin: int, count: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(begin)
        data = file.read(count)
    if len(data) != count:
        raise OSError(f"{path}: became shorter while it was read")
    return data
