# SPDX-License-Identifier: Apache-2.0
"""One forward pass: what is asked, and what is answered."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import _nearest, _tensors, _wire, errors
from ._generated import attention_service_pb2
from ._tensors import Array

if TYPE_CHECKING:
    from typing_extensions import Literal, TypedDict

    Causal = Literal["none", "top_left", "bottom_right"]
    MaskedRowPolicy = Literal["torch", "zero", "nan"]

    class ForwardOptions(TypedDict, total=False):
        """The keyword arguments of `forward`: see `ForwardRequest`."""

        attn_mask: Optional[Array]
        key_padding_mask: Optional[Array]
        valid_lens: Optional[Lengths]
        causal: Union[bool, Causal]
        is_causal: bool
        need_weights: bool
        average_attn_weights: bool
        masked_row_policy: MaskedRowPolicy
        training: bool
        dropout_seed: int


Input = Union[Array, Sequence[Array]]
"""A batch as one array, or a ragged batch as a sequence of 2-D arrays."""

Lengths = Union[Array, Sequence[float], Sequence[Sequence[float]]]
"""Whole numbers, as an array or in lists."""

_CAUSAL: Mapping[object, int] = {
    False: attention_service_pb2.CAUSAL_UNSPECIFIED,
    "none": attention_service_pb2.CAUSAL_UNSPECIFIED,
    True: attention_service_pb2.CAUSAL_TOP_LEFT,
    "top_left": attention_service_pb2.CAUSAL_TOP_LEFT,
    "bottom_right": attention_service_pb2.CAUSAL_BOTTOM_RIGHT,
}
_POLICIES: Mapping[str, int] = {
    "torch": attention_service_pb2.MASKED_ROW_POLICY_TORCH,
    "zero": attention_service_pb2.MASKED_ROW_POLICY_ZERO,
    "nan": attention_service_pb2.MASKED_ROW_POLICY_NAN,
}


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardRequest:
    """One forward pass of a served module.

    Notation: N batch, L queries, S keys, E the module's width, H heads, and
    S' = S + appended columns (add_bias_kv, add_zero_attn).

    Attributes:
        module: name of the served module.
        query: (L, E); (L, N, E), or (N, L, E) when the module is batch_first. Or
            a list of N arrays (L_n, E): a ragged batch, which is neither padded
            nor sent padded.
        key: (S, kdim) and so on, of query's dtype and kind. Default: query.
        value: like key, with vdim. Default: key.
        attn_mask: (L, S) or (N*H, L, S). Boolean: True is masked. Floating:
            added to the scores. For a ragged batch with the padded batch's shape,
            as the other masks are.
        key_padding_mask: (N, S), unbatched (S). True is padding.
        valid_lens: (N) or (N, L) whole numbers, of any dtype: key j is padding
            where j >= valid_lens.
        causal: True or "top_left": query i sees key j where j <= i.
            "bottom_right": where j <= i + S - L.
        is_causal: torch's hint, with torch's rules; needs attn_mask.
        need_weights: whether to return the attention weights.
        average_attn_weights: whether those are averaged over the heads.
        masked_row_policy: what a query that sees no key yields: "torch" (NaN with
            weights, else zeros before the output projection), "zero" or "nan".
        training: apply the module's dropout.
        dropout_seed: the dropout is a function of this and of the element's place.
    """

    module: str
    query: Input
    key: Optional[Input] = None
    value: Optional[Input] = None
    attn_mask: Optional[Array] = None
    key_padding_mask: Optional[Array] = None
    valid_lens: Optional[Lengths] = None
    causal: Union[bool, "Causal"] = False
    is_causal: bool = False
    need_weights: bool = False
    average_attn_weights: bool = True
    masked_row_policy: MaskedRowPolicy = "torch"
    training: bool = False
    dropout_seed: int = 0


@dataclasses.dataclass(frozen=True)
class Timing:
    """Where the server spent its time on one request, in seconds.

    `total` is from the message's arrival until the answer is ready to be
    written.
    """

    decode: float
    queue: float
    compute: float
    total: float


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardResult:
    """The answer to a `ForwardRequest`, in arrays of the query's kind and dtype.

    Attributes:
        output: query's shape, with the module's width as last dimension. For a
            ragged batch a list of N arrays (L_n, E).
        weights: when asked for: (N, L, S'), per head (N, H, L, S'); unbatched
            without N. For a ragged batch a list of N arrays (L_n, S'_n) or
            (H, L_n, S'_n).
        module_version: rises with every replacement of the module.
        batch_size: requests computed together with this one, itself included.
        timing: where the server spent its time.
    """

    output: Any
    weights: Any
    module_version: int
    batch_size: int
    timing: Timing


def _check_tensors(request: ForwardRequest, limit: int) -> None:
    """TooLargeError where the tensors alone are longer than a message may be.

    Nothing is copied for it.
    """
    tensors: List[Any] = [
        request.attn_mask,
        request.key_padding_mask,
        request.valid_lens,
    ]
    lengths = 0
    inputs: Tuple[Any, ...] = (request.query, request.key, request.value)
    for given in inputs:
        if _is_ragged(given):
            tensors.extend(given)
            lengths += len(given)
        else:
            tensors.append(given)
    # A length takes a byte or more.
    errors.check_size(lengths + sum(map(_tensors.num_bytes, tensors)), limit)


def to_bytes(request: ForwardRequest) -> bytes:
    """The wire's form. TypeError or ValueError for what has none."""
    return b"".join(_parts(request, errors.MAX_MESSAGE_BYTES))


def to_stream_bytes(number: int, request: ForwardRequest, limit: int) -> bytes:
    """The same on a stream whose messages have at most `limit` bytes."""
    parts = _wire.stream_parts(number, _parts(request, limit))
    errors.check_size(_wire.num_bytes(parts), limit)
    return b"".join(parts)


def num_bytes(request: ForwardRequest) -> int:
    """Length of the wire's form."""
    return _wire.num_bytes(_parts(request, errors.MAX_MESSAGE_BYTES))


def _parts(request: ForwardRequest, limit: int) -> List[_wire.Part]:
    _check_tensors(request, limit)
    query, query_lengths = _pack("query", request.query)
    key, key_lengths = _pack("key", request.key)
    value, value_lengths = _pack("value", request.value)
    _check_lengths(request, query_lengths, key_lengths, value_lengths)
    options: Any = {
        "causal": _choice("causal", _CAUSAL, request.causal),
        "masked_row_policy": _choice(
            "masked_row_policy", _POLICIES, request.masked_row_policy
        ),
    }
    fields = attention_service_pb2.ForwardRequest(
        module=request.module,
        is_causal=request.is_causal,
        need_weights=request.need_weights,
        average_attn_weights=request.average_attn_weights,
        training=request.training,
        dropout_seed=request.dropout_seed,
        query_lengths=query_lengths,
        key_lengths=key_lengths or value_lengths,
        **options,
    )
    tensors = {
        "query": query,
        "key": key,
        "value": value,
        "attn_mask": request.attn_mask,
        "key_padding_mask": request.key_padding_mask,
        "valid_lens": _integers(request.valid_lens),
    }
    parts = _wire.request_parts(fields, tensors)
    errors.check_size(_wire.num_bytes(parts), limit)
    return parts


def to_result(request: ForwardRequest, answer: _wire.Answer) -> ForwardResult:
    """The answer, in the request's kind of arrays."""
    ragged = _is_ragged(request.query)
    like: Any = request.query[0] if ragged else request.query
    message = answer.fields
    output: Any = _tensors.from_elements(message.output, answer.output, like)
    weights: Any = None
    if message.HasField("weights"):
        weights = _tensors.from_elements(message.weights, answer.weights, like)
    if ragged:
        output, weights = _split(request, output, weights)
    timing = message.timing
    return ForwardResult(
        output,
        weights,
        message.module_version,
        message.batch_size,
        Timing(
            timing.decode_time_ns / 1e9,
            timing.queue_time_ns / 1e9,
            timing.compute_time_ns / 1e9,
            timing.total_time_ns / 1e9,
        ),
    )


def _is_ragged(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _pack(name: str, value: Optional[Any]) -> Tuple[Optional[Array], List[int]]:
    """Packed rows and lengths of a ragged batch; an array as it is."""
    if not _is_ragged(value):
        return value, []
    arrays: Any = value
    if not arrays:
        raise ValueError(f"{name}: expected at least one sequence, got an empty list")
    for number, array in enumerate(arrays):
        if not _tensors.is_array(array) or array.ndim != 2:
            shape = getattr(array, "shape", type(array).__name__)
            raise ValueError(
                f"{name}[{number}]: expected a 2-D array, (length, width), in a "
                f"ragged batch, got {shape}"
            )
    return _tensors.concatenate(arrays), [int(array.shape[0]) for array in arrays]


def _check_lengths(
    request: ForwardRequest, query: List[int], key: List[int], value: List[int]
) -> None:
    for name, given, lengths in (
        ("key", request.key, key),
        ("value", request.value, value),
    ):
        if given is not None and bool(lengths) != bool(query):
            raise ValueError(
                f"{name}: expected a list of arrays if query is one, and only then"
            )
    if key and value and key != value:
        raise ValueError(f"value: expected lengths {key} like key's, got {value}")


def _choice(name: str, choices: Mapping[Any, int], value: object) -> int:
    """The number of a choice, which the command line spells with hyphens."""
    wanted = value
    if isinstance(value, str):
        wanted = value.lower().replace("-", "_")
    if isinstance(wanted, (str, bool, np.bool_)) and wanted in choices:
        return choices[wanted]
    expected = ", ".join(map(repr, choices))
    raise ValueError(
        f"{name}: expected one of {expected}, got {value!r}"
        + _nearest.hint(wanted, [c for c in choices if isinstance(c, str)])
    )


def _integers(lengths: Optional[Lengths]) -> Optional[Array]:
    if lengths is None:
        return None
    values = _tensors.to_numpy(lengths)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"valid_lens: expected integers, got {values.dtype}")
    wide = values.astype(np.float64)
    fit = np.isfinite(wide) & (np.abs(wide) < 2.0**63) & (wide == np.floor(wide))
    if not fit.all():
        place = np.argwhere(~fit)[0].tolist()
        raise ValueError(
            f"valid_lens{place}: expected integers, or whole numbers in another "
            f"dtype, got {values[tuple(place)]}"
        )
    return values.astype(np.int64)


def _split(request: ForwardRequest, output: Any, weights: Any) -> Tuple[Any, Any]:
    """Packed rows, and weights of the padded batch, by sequence."""
    _, rows = _pack("query", request.query)
    keys = _pack("key", request.key)[1] or rows
    outputs, begin = [], 0
    for count in rows:
        outputs.append(output[begin : begin + count])
        begin += count
    if weights is None:
        return outputs, None
    # What the module appends stands behind the longest sequence's keys.
    longest = max(keys)
    columns = np.arange(weights.shape[-1])
    parts = []
    for number, (count, seen) in enumerate(zip(rows, keys)):
        kept = columns[(columns < seen) | (columns >= longest)]
        parts.append(weights[number][..., :count, :][..., kept])
    return outputs, parts
