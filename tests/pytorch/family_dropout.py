# SPDX-License-Identifier: Apache-2.0
"""Training mode with the server's masks: what core/attention/dropout.h says is
dropped where, computed here, in place of PyTorch's dropout."""

import contextlib
from unittest import mock

import torch
from torch import nn
from torch.nn import functional

import family_modules
import philox

_WEIGHTS, _ATTENTION, _ACTIVATION, _FEED_FORWARD = range(4)


def factors(mask, layer, site, shape, first_sequence=0):
    """What the elements (n, h, i, j) of `shape` are multiplied by: 0 or
    1 / (1 - p), in float64, for `mask` = (p, seed)."""
    p, seed = mask
    count, heads, rows, columns = shape
    blocks = (columns + 3) // 4
    n, h, i, block = torch.meshgrid(
        torch.arange(count) + first_sequence,
        torch.arange(heads) + ((site + 4 * layer) << 16),
        torch.arange(rows),
        torch.arange(blocks),
        indexing="ij",
    )
    counters = torch.stack([block, i, n, h], -1).reshape(-1, 4).numpy()
    words = philox.philox4x32(seed, counters).astype("int64")
    words = torch.from_numpy(words).view(count, heads, rows, 4 * blocks)
    is_kept = words[..., :columns] >= round(p * 2.0**32)
    return is_kept.double() * (1.0 / (1.0 - p) if p < 1.0 else 0.0)


class _Dropout(nn.Module):
    """Stands in for nn.Dropout at a site of a layer of a case's module."""

    def __init__(self, case, mask, layer, site):
        super().__init__()
        self._case, self._place = case, (mask, layer, site)

    def __deepcopy__(self, _):
        return self

    def forward(self, x):
        """`x` are weights (N, H, L, S) or rows (N, L, F), (L, N, F), (L, F)."""
        first = self._case.first_sequence
        if x.dim() == 4:
            return x * factors(*self._place, x.shape, first).to(x.dtype)
        rows = x if x.dim() == 3 else x[None]
        is_sequence_first = self._case.features["layout"] == "sequence first"
        count, length = rows.shape[:2]
        if is_sequence_first:
            count, length = length, count
        shape = (count, 1, length, x.shape[-1])
        scale = factors(*self._place, shape, first).squeeze(1)
        if is_sequence_first:
            scale = scale.transpose(0, 1)
        return x * scale.view(x.shape).to(x.dtype)


class _Attention:
    """Stands in for scaled_dot_product_attention in one layer after another."""

    def __init__(self, case, mask, num_layers):
        self._case, self._mask = case, mask
        self._num_layers, self._num_calls = num_layers, 0

    def __call__(
        self, query, key, value, attn_mask=None, dropout_p=0.0,
        is_causal=False, scale=None, enable_gqa=False,
    ):
        layer = self._num_calls % self._num_layers
        self._num_calls += 1
        if enable_gqa:
            groups = query.shape[1] // key.shape[1]
            key = key.repeat_interleave(groups, 1)
            value = value.repeat_interleave(groups, 1)
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        scores = query @ key.mT * scale
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        blind = (scores == -torch.inf).all(-1, keepdim=True)
        weights = torch.softmax(scores, -1).masked_fill(blind, 0.0)
        dropout = _Dropout(self._case, self._mask, layer, _WEIGHTS)
        return dropout(weights) @ value


# Where each kind of layer has dropout. PyTorch's attention calls a function.
_LAYER_SITES = {
    nn.TransformerEncoderLayer: {
        "dropout1": _ATTENTION,
        "dropout": _ACTIVATION,
        "dropout2": _FEED_FORWARD,
    },
    family_modules.D2lEncoderBlock: {
        "attention.dropout": _WEIGHTS,
        "addnorm1.dropout": _ATTENTION,
        "addnorm2.dropout": _FEED_FORWARD,
    },
}


@contextlib.contextmanager
def training(case, p, seed):
    """Make a case one of training mode, and replace PyTorch's functions so that
    it is judged as such while the context lasts."""
    config = case.config
    config.get("layer", config.get("d2l_block", config))["dropout"] = p
    case.inputs |= {"training": True, "dropout_seed": seed}
    mask = (p, seed)
    layers = [m for m in case.module.modules() if type(m) in _LAYER_SITES]
    for number, layer in enumerate(layers):
        for name, site in _LAYER_SITES[type(layer)].items():
            owner, _, attribute = name.rpartition(".")
            dropout = _Dropout(case, mask, number, site)
            setattr(layer.get_submodule(owner), attribute, dropout)
    if not layers:
        case.module.dropout = _Dropout(case, mask, 0, _WEIGHTS)
    attention = _Attention(case, mask, max(len(layers), 1))
    with mock.patch.object(
        functional, "scaled_dot_product_attention", attention
    ):
        yield
