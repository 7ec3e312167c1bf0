# SPDX-License-Identifier: Apache-2.0
"""Messages with tensors as gRPC sends and receives them.

A tensor's elements go into a message by one copy, and are taken out of it by none:
`_tensors.from_elements` says which are copied after all. The rest is protobuf's to
write and to read, and so is a message that is anything but plain: what it makes of
the parts is what it would make of the whole.
"""

from __future__ import annotations

from typing import (
    Any,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Set,
    Tuple,
    Union,
)

from . import _tensors
from ._generated import attention_service_pb2, tensor_pb2
from ._tensors import Array

Part = Union[bytes, memoryview]

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
# Longer ones are malformed.
_TAG_BYTES, _VARINT_BYTES = 5, 10
# Below it, protobuf alone is as fast.
_LEAST_BYTES = 1 << 17
# So is it where a message has more fields that are not looked for.
_MOST_KEPT = 64


def _tag(message: Any, field: str) -> int:
    return int(message.DESCRIPTOR.fields_by_name[field].number) << 3 | _DELIMITED


def _varint(value: int) -> bytes:
    encoded = []
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_REQUEST = attention_service_pb2.ForwardRequest
_RESPONSE = attention_service_pb2.ForwardResponse
_STREAM_REQUEST = attention_service_pb2.ForwardStreamRequest
_STREAM_RESPONSE = attention_service_pb2.ForwardStreamResponse
_DATA = _tag(tensor_pb2.Tensor, "data")

# What stands before a field's length.
_TENSOR_HEADS = {
    field.name: _varint(_tag(_REQUEST, field.name))
    for field in _REQUEST.DESCRIPTOR.fields
    if field.message_type is not None
}
_DATA_HEAD = _varint(_DATA)
_STREAM_HEAD = _varint(_tag(_STREAM_REQUEST, "request"))

# The fields of a message that hold elements somewhere, by tag; {} are elements.
_Tree = Mapping[int, Any]
_TENSOR: _Tree = {_DATA: {}}
_OUTPUT, _WEIGHTS = _tag(_RESPONSE, "output"), _tag(_RESPONSE, "weights")
_ANSWER: _Tree = {_OUTPUT: _TENSOR, _WEIGHTS: _TENSOR}
_STREAMED = _tag(_STREAM_RESPONSE, "response")
_STREAM_ANSWER: _Tree = {_STREAMED: _ANSWER}


_Elements = Dict[Tuple[int, ...], memoryview]


class _Cut(NamedTuple):
    """A message without its elements, and these by the tags that lead to them."""

    fields: bytes
    elements: _Elements


class Answer(NamedTuple):
    """A ForwardResponse, whose tensors have no elements, and these."""

    fields: attention_service_pb2.ForwardResponse
    output: Part
    weights: Part


class StreamAnswer(NamedTuple):
    """A ForwardStreamResponse likewise; without an error `answer` is one."""

    id: int
    error: Optional[attention_service_pb2.Error]
    answer: Answer


def request_parts(
    fields: attention_service_pb2.ForwardRequest,
    tensors: Mapping[str, Optional[Array]],
) -> List[Part]:
    """The bytes of a request with these tensors, in parts that are to be joined."""
    parts: List[Part] = [fields.SerializeToString()]
    for name, array in tensors.items():
        if array is None:
            continue
        kind = _tensors.to_type(array).SerializeToString()
        elements = _tensors.elements(array)
        count = elements.nbytes
        head = kind + _DATA_HEAD + _varint(count)
        parts.append(_TENSOR_HEADS[name] + _varint(len(head) + count) + head)
        parts.append(elements)
    return parts


def stream_parts(number: int, request: List[Part]) -> List[Part]:
    """The same of a request on a stream."""
    envelope = _STREAM_REQUEST(id=number).SerializeToString()
    return [envelope + _STREAM_HEAD + _varint(num_bytes(request)), *request]


def num_bytes(parts: List[Part]) -> int:
    """Bytes of the message."""
    return sum(map(len, parts))


def parse_answer(data: bytes) -> Answer:
    """The ForwardResponse that was received; protobuf's DecodeError."""
    cut = _cut(data, _ANSWER)
    if cut is None:
        return _whole(_RESPONSE.FromString(data))
    return _in_parts(_RESPONSE.FromString(cut.fields), cut, ())


def parse_stream_answer(data: bytes) -> StreamAnswer:
    """The same on a stream."""
    cut = _cut(data, _STREAM_ANSWER)
    message = _STREAM_RESPONSE.FromString(data if cut is None else cut.fields)
    if message.HasField("error"):
        return StreamAnswer(message.id, message.error, _whole(_RESPONSE()))
    if cut is None:
        return StreamAnswer(message.id, None, _whole(message.response))
    answer = _in_parts(message.response, cut, (_STREAMED,))
    return StreamAnswer(message.id, None, answer)


def _whole(message: attention_service_pb2.ForwardResponse) -> Answer:
    return Answer(message, message.output.data, message.weights.data)


def _in_parts(
    message: attention_service_pb2.ForwardResponse, cut: _Cut, path: Tuple[int, ...]
) -> Answer:
    output = cut.elements.get((*path, _OUTPUT, _DATA), b"")
    weights = cut.elements.get((*path, _WEIGHTS, _DATA), b"")
    return Answer(message, output, weights)


class _NotPlainError(Exception):
    """A message that is left to protobuf."""


def _cut(data: bytes, tree: _Tree) -> Optional[_Cut]:
    """None for what protobuf is to parse as it is: short, or not plain."""
    if len(data) < _LEAST_BYTES:
        return None
    elements: _Elements = {}
    try:
        fields = _cut_fields(data, (0, len(data)), (tree, ()), elements)
    except _NotPlainError:
        return None
    return _Cut(fields, elements)


def _cut_fields(
    data: bytes,
    span: Tuple[int, int],
    place: Tuple[_Tree, Tuple[int, ...]],
    elements: _Elements,
) -> bytes:
    """The fields in a span of a message that `place` says the kind of."""
    tree, path = place
    kept: List[bytes] = []
    found: Set[int] = set()
    at, end = span
    while at < end:
        first = at
        tag, at = _read_varint(data, at, _TAG_BYTES)
        content, at = _content(data, tag, at)
        if at > end:
            raise _NotPlainError
        if tag not in tree:
            if len(kept) >= _MOST_KEPT:
                raise _NotPlainError
            kept.append(data[first:at])
            continue
        if tag in found:  # Two are one message, of the fields of both.
            raise _NotPlainError
        found.add(tag)
        here = (*path, tag)
        if not tree[tag]:
            elements[here] = memoryview(data)[content:at]
            continue
        inner = _cut_fields(data, (content, at), (tree[tag], here), elements)
        kept += [_varint(tag), _varint(len(inner)), inner]
    return b"".join(kept)


def _content(data: bytes, tag: int, at: int) -> Tuple[int, int]:
    """Where a field's content begins and ends, which may be behind the message."""
    kind = tag & 7
    if kind == _DELIMITED:
        length, at = _read_varint(data, at, _TAG_BYTES)
        return at, at + length
    if kind == _VARINT:
        return at, _read_varint(data, at, _VARINT_BYTES)[1]
    if kind == _FIXED64:
        return at, at + 8
    if kind == _FIXED32:
        return at, at + 4
    raise _NotPlainError


def _read_varint(data: bytes, at: int, most: int) -> Tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for shift in range(0, 7 * most, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _NotPlainError
