# SPDX-License-Identifier: Apache-2.0
"""torch.nn.functional.scaled_dot_product_attention on a server."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional, Tuple
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional as F

from .. import errors
from .._forward import ForwardRequest
from ..client import AttentionClient
from . import _remote

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
        attn_mask: broadcast to (..., H, L, S); boolean, or floating and added.
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
        ValueError: another compute_dtype.
        AttentionError: the call failed.
    """
    options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
    if enable_gqa:
        options["enable_gqa"] = True
    shape = _checked_shape(query, key, value, attn_mask, options)
    query, key, value = _as_heads(query, key, value, enable_gqa)
    request = ForwardRequest(
        "",
        query,
        None if key is query else key,
        None if value is key else value,
        attn_mask=_wire_mask(attn_mask, shape, key),
        causal=is_causal,
        **_remote.dropout_options(True, dropout_p),
    )
    config = _config(query, key, value, options)
    served = _remote.module_config(_KIND, config, compute_dtype)
    output = _compute(client, served, request)
    return output.reshape(shape)


def _checked_shape(
    query: Any, key: Any, value: Any, mask: Any, options: Dict[str, Any]
) -> Any:
    """The answer's shape, by PyTorch's own rules and with its errors."""

    def meta(tensor: Any) -> Any:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")

    mask = None if mask is None else meta(mask)
    inputs = (meta(query), meta(key), meta(value))
    return F.scaled_dot_product_attention(*inputs, mask, **options).shape


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
