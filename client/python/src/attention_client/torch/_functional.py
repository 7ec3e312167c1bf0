# SPDX-License-Identifier: Apache-2.0
"""torch.nn.functional.scaled_dot_product_attention on a server."""

from __future__ import annotations

import dataclasses
import functools
import gc
import sys
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional as F

from .. import errors
from .._forward import ForwardRequest
from ..client import AttentionClient
from . import _judge, _operator, _remote

if TYPE_CHECKING:
    from .._forward import Causal

_KIND = "scaled_dot_product_attention"
# Names of served modules by configuration, by client.
_served: WeakKeyDictionary[AttentionClient, Dict[Any, str]] = WeakKeyDictionary()


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: Optional[torch.Tensor] = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Optional[float] = None,
    enable_gqa: bool = False,
    *,
    client: AttentionClient,
    compute_dtype: str = "float32",
) -> torch.Tensor:
    """The function of torch.nn.functional, computed by a server.

    As there, a boolean attn_mask is True where a key takes part: the opposite of
    every other mask of this package. Serves a module without weights for each
    combination of heads, head sizes, scale, dropout_p and compute_dtype.

    Args:
        query: (..., H, L, D).
        key: (..., H, S, D), or with `enable_gqa` (..., Hkv, S, D).
        value: (..., H, S, Dv), or with `enable_gqa` (..., Hkv, S, Dv).
        attn_mask: broadcast to (..., H, L, S); boolean, or floating and added; or a
            causal bias of torch.nn.attention.bias, which costs no bytes.
        dropout_p: probability with which weights are zeroed, always.
        is_causal: query i sees key j where j <= i; not with attn_mask.
        scale: of the scores; default 1 / sqrt(D).
        enable_gqa: whether heads of query share those of key and value; needs
            PyTorch 2.5, whose rules it is checked by.
        client: the client of the server.
        compute_dtype: what to compute in, but for float64 tensors: "float32", or
            "bfloat16", which is faster and keeps 2 or 3 digits.

    Returns:
        (..., H, L, Dv).

    Raises:
        RuntimeError: what PyTorch raises for shapes and dtypes; a gradient.
        ValueError: another compute_dtype; a causal bias beside is_causal.
        AttentionError: the call failed.
    """
    attn_mask, causal = _causality(query, key, attn_mask, is_causal)
    fields = (causal, enable_gqa, compute_dtype)
    inputs, options = (query, key, value, attn_mask), (dropout_p, scale)
    tracer = _operator.fx_tracer((*inputs, *options))
    if tracer is not None:
        recorded = (_callee(client, *fields), *inputs, *options)
        return tracer.create_proxy("call_function", _recorded, recorded, {})
    _judge.refuse_nested(inputs[:3], RuntimeError)
    if torch.compiler.is_dynamo_compiling():
        return _recorded(_callee_of_id(id(client), *fields), *inputs, *options)
    if _operator.is_traced(inputs):
        return _recorded(_callee(client, *fields), *inputs, *options)
    _operator.adopt(client)
    modes, seed = _judge.modes_of(query, False), _remote.dropout_seed(True, dropout_p)
    named = {"attn_mask": attn_mask, "dropout_p": dropout_p, "scale": scale}
    return Function(*fields).answer(client, inputs[:3], named, modes, seed)[0]


def _recorded(
    callee: str,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    dropout_p: Any,
    scale: Any,
) -> Any:
    """The call of a callee as graphs have it, in the modes they are run in."""
    seed = _remote.dropout_seed(True, dropout_p)
    options = {"attn_mask": attn_mask, "dropout_p": dropout_p, "scale": scale}
    return _operator.call(callee, (query, key, value), seed, False, options)[0]


class Function(NamedTuple):
    """The function without its tensors and numbers: see `_operator.register`."""

    causal: Causal
    enable_gqa: bool
    compute_dtype: str

    def answer(
        self, client: AttentionClient, inputs: Any, options: Any, modes: Any, seed: Any
    ) -> Tuple[Any, None]:
        """The function's value."""
        mask = options["attn_mask"]
        described = tuple(_judge.described(each) for each in (*inputs, mask))
        dropout_p, scale = options["dropout_p"], options["scale"]
        shape = _checked_shape(described, self, dropout_p, scale)
        small = tuple(_judge.small(each) for each in described)
        inputs = _remote.in_dtype(inputs, _answer_dtype(small, self, modes))
        query, key, value = _as_heads(inputs, self.enable_gqa)
        request = ForwardRequest(
            "",
            query,
            None if key is query else key,
            None if value is key else value,
            attn_mask=_wire_mask(mask, shape, key),
            causal=self.causal,
            **_remote.dropout_options(seed),
        )
        config = {**_sizes(query, key, value), "dropout": dropout_p}
        if scale is not None:
            config["scale"] = scale
        served = _remote.module_config(_KIND, config, self.compute_dtype)
        return _compute(client, served, request).reshape(shape), None

    def answer_shapes(
        self, inputs: Any, options: Any, modes: Any
    ) -> List[Tuple[Any, torch.dtype]]:
        """Shape and dtype of the value."""
        described = [_judge.of_any_size(t) for t in (*inputs, options["attn_mask"])]
        dtype = _answer_dtype(tuple(described), self, modes)
        query, _, value = inputs
        lead = torch.broadcast_shapes(*(each.shape[:-3] for each in inputs))
        heads = query.shape[-3:-2]
        return [((*lead, *heads, query.shape[-2], value.shape[-1]), dtype)]

    def options(self) -> Dict[str, Any]:
        """What decides shapes and dtypes."""
        options = {"is_causal": self.causal == "top_left"}
        return {**options, "enable_gqa": True} if self.enable_gqa else options


def _callee(client: AttentionClient, *fields: Any) -> str:
    _operator.adopt(client)
    return _operator.describe(client.target, _KIND, Function(*fields)._asdict())


def _callee_of_id(client: int, *fields: Any) -> str:
    """`_callee`, for torch.compile, which tells constants from objects."""
    living = (each for each in gc.get_objects() if id(each) == client)
    return _callee(next(living), *fields)


# As torch.compiler.assume_constant_result does, which would import the compiler.
_callee_of_id._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _described(description: Dict[str, Any]) -> Function:
    return Function(*(description[name] for name in Function._fields))


_operator.register(_KIND, _described)


def _causality(query: Any, key: Any, mask: Any, is_causal: bool) -> Tuple[Any, Causal]:
    """The mask that is left where a causal bias is said by name."""
    bias = sys.modules.get("torch.nn.attention.bias")
    if bias is None or not isinstance(mask, bias.CausalBias):
        return mask, "top_left" if is_causal else "none"
    if is_causal:
        raise ValueError("CausalBias should not be used with causal=True")
    rows, columns = mask.seq_len_q, mask.seq_len_kv
    if rows == columns or mask.variant == bias.CausalVariant.UPPER_LEFT:
        return None, "top_left"  # Of any lengths, as in PyTorch.
    if (rows, columns) == (*query.shape[-2:-1], *key.shape[-2:-1]):
        return None, "bottom_right"
    ones = torch.ones(rows, columns, dtype=torch.bool, device=query.device)
    return ones.tril(columns - rows), "none"


@functools.lru_cache(_judge.REMEMBERED_CALLS)
def _checked_shape(
    described: Any, function: Function, dropout_p: float, scale: Optional[float]
) -> Any:
    """The answer's shape, by PyTorch's own rules and with its errors."""
    with _judge.judged_in(_judge.Modes(training=False)):
        tensors = [each and each.on_meta() for each in described]
        numbers = {"dropout_p": dropout_p, "scale": scale}
        options = {**numbers, **function.options()}
        return F.scaled_dot_product_attention(*tensors, **options).shape


@functools.lru_cache(_judge.REMEMBERED_CALLS)
def _answer_dtype(described: Any, function: Function, modes: Any) -> torch.dtype:
    """The answer's dtype, by PyTorch's own rules and with its errors."""
    with _judge.judged_in(modes):
        tensors = [each and each.on_cpu() for each in described]
        answer = F.scaled_dot_product_attention(*tensors, **function.options())
        return answer.dtype


def _as_heads(inputs: Any, gqa: bool) -> Tuple[Any, Any, Any]:
    """(N, H, L, D) of each: leading dimensions joined, broadcast ones expanded."""
    query, key, value = inputs
    same_key, same_value = key is query, value is key
    kept = 3 if gqa else 2
    lead = torch.broadcast_shapes(*(t.shape[:-kept] for t in (query, key, value)))

    def heads(tensor: Any) -> Any:
        full = tensor.expand(*lead, *tensor.shape[-kept:])
        if full.dim() < 4:
            full = full.reshape(*(full.shape[:-2] or (1,)), 1, *full.shape[-2:])
        return full.flatten(0, -4)

    query = heads(query)
    key = query if same_key else heads(key)
    return query, key, key if same_value else heads(value)


def _wire_mask(mask: Any, shape: Any, key: Any) -> Any:
    """(N or 1, H or 1, L or 1, S), True where masked."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = ~mask
    mask = mask.expand(*mask.shape[:-1], key.shape[-2])
    if len(shape) > 4 and mask.dim() > 2:
        return mask.expand(*shape[:-2], *mask.shape[-2:]).flatten(0, -4)
    if len(shape) < 4 and mask.dim() > 2:
        return mask.unsqueeze(1)
    return mask.reshape((1,) * (4 - mask.dim()) + mask.shape)


def _sizes(query: Any, key: Any, value: Any) -> Dict[str, Any]:
    return {
        "num_heads": query.shape[1],
        "num_key_value_heads": key.shape[1],
        "head_dim": query.shape[-1],
        "value_head_dim": value.shape[-1],
    }


def _compute(
    client: AttentionClient, config: Dict[str, Any], request: ForwardRequest
) -> Any:
    """Compute with the module of a configuration, which is served if need be."""
    names = _served.setdefault(client, {})
    key = (config.get("compute_dtype"), *sorted(config[_KIND].items()))
    known = names.get(key)
    if known is not None:
        try:
            return _remote.compute(client, dataclasses.replace(request, module=known))[
                0
            ]
        except errors.UnknownModuleError:  # The server was started anew.
            pass
    names[key] = _remote.serve(client, config, {})
    return _remote.compute(client, dataclasses.replace(request, module=names[key]))[0]
