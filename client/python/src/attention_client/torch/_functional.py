# SPDX-License-Identifier: Apache-2.0
"""torch.nn.functional.scaled_dot_product_attention on a server."""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional as F

from .. import errors
from .._forward import ForwardRequest
from ..client import AttentionClient
from . import _judge, _remote

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
        enable_gqa: whether heads of query share those of key and value.
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
    options = {"is_causal": causal == "top_left", "scale": scale}
    if enable_gqa:
        options["enable_gqa"] = True
    inputs = (query, key, value)
    described = tuple(_judge.described(each) for each in (*inputs, attn_mask))
    named = tuple(options.items())
    shape = _checked_shape(described, dropout_p, named)
    dtype = _answer_dtype(
        tuple(map(_judge.small, described)), named, _judge.modes_of(query, False)
    )
    query, key, value = _as_heads(*_remote.in_dtype(inputs, dtype), enable_gqa)
    request = ForwardRequest(
        "",
        query,
        None if key is query else key,
        None if value is key else value,
        attn_mask=_wire_mask(attn_mask, shape, key),
        causal=causal,
        **_remote.dropout_options(True, dropout_p),
    )
    config = _config(query, key, value, {"dropout_p": dropout_p, "scale": scale})
    served = _remote.module_config(_KIND, config, compute_dtype)
    output = _compute(client, served, request)
    return output.reshape(shape)


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
def _checked_shape(described: Any, dropout_p: float, options: Any) -> Any:
    """The answer's shape, by PyTorch's own rules and with its errors."""
    with _judge.judged_in(_judge.Modes(training=False)):
        *inputs, mask = [each and each.on_meta() for each in described]
        return F.scaled_dot_product_attention(
            *inputs, mask, dropout_p, **dict(options)
        ).shape


@functools.lru_cache(_judge.REMEMBERED_CALLS)
def _answer_dtype(described: Any, options: Any, modes: _judge.Modes) -> torch.dtype:
    """The answer's dtype, by PyTorch's own rules and with its errors."""
    with _judge.judged_in(modes):
        *inputs, mask = [each and each.on_cpu() for each in described]
        answer = F.scaled_dot_product_attention(*inputs, mask, **dict(options))
        return answer.dtype  # type: ignore[no-any-return]


def _as_heads(query: Any, key: Any, value: Any, gqa: bool) -> Tuple[Any, Any, Any]:
    """(N, H, L, D) of each: leading dimensions joined, broadcast ones expanded."""
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


def _config(query: Any, key: Any, value: Any, options: Dict[str, Any]) -> Any:
    config = {
        "num_heads": query.shape[1],
        "num_key_value_heads": key.shape[1],
        "head_dim": query.shape[-1],
        "value_head_dim": value.shape[-1],
        "dropout": options["dropout_p"],
    }
    if options["scale"] is not None:
        config["scale"] = options["scale"]
    return config


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
