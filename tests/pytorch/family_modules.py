# SPDX-License-Identifier: Apache-2.0
"""Modules that have no class in PyTorch, transcribed as they are written.

The d2l ones follow Dive into Deep Learning, sections 11.3, 11.5 and 11.7
(d2l/torch.py), in their formulas and in the names of their parameters.
"""

import math

import torch
from torch import nn
from torch.nn import functional


def split_heads(tensor, num_heads):
    """(N, L, H * D) as (N, H, L, D)."""
    return tensor.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def join_heads(tensor):
    """The inverse of split_heads."""
    return tensor.transpose(1, 2).flatten(2)


# What matrices of query and key are called.
_SHARPENED = ("q_proj", "k_proj", "W_q", "W_k")


def randomise(module, gain=1.0):
    """Draw parameters such that a mistake about any of them shows: PyTorch
    starts with biases of 0 and norms of 1. A gain sharpens attention."""
    for name, parameter in module.named_parameters():
        if parameter.dim() == 2:
            bound = parameter.shape[1] ** -0.5
            parameter.uniform_(-bound, bound)
            if "in_proj" in name:
                parameter[: 2 * parameter.shape[1]] *= gain
            elif any(part in name for part in _SHARPENED):
                parameter *= gain
        else:
            parameter.normal_(std=0.5)
            if name.endswith("weight"):
                parameter.add_(1.0)
    return module.eval()


class HandWrittenAttention(nn.Module):
    """Attention of `num_heads` heads between separate linear layers; a single
    head usually goes without an output projection."""

    def __init__(self, sizes, width, num_heads, bias, output_projection):
        super().__init__()
        query_size, key_size, value_size = sizes
        self.num_heads = num_heads
        self.q_proj = nn.Linear(query_size, width, bias=bias)
        self.k_proj = nn.Linear(key_size, width, bias=bias)
        self.v_proj = nn.Linear(value_size, width, bias=bias)
        self.out_proj = None
        if output_projection:
            self.out_proj = nn.Linear(width, width, bias=bias)
        self.dropout = nn.Identity()

    def forward(self, query, key, value, mask, blind_weight):
        """Batch first; `mask` (N, H, L, S) is added to the scores, and rows it
        hides altogether get weights `blind_weight`."""
        query = split_heads(self.q_proj(query), self.num_heads)
        key = split_heads(self.k_proj(key), self.num_heads)
        value = split_heads(self.v_proj(value), self.num_heads)
        scores = query @ key.mT / math.sqrt(query.shape[-1]) + mask
        weights = torch.softmax(scores, -1)
        blind = (mask == -torch.inf).all(-1, keepdim=True)
        weights = self.dropout(weights.masked_fill(blind, blind_weight))
        context = join_heads(weights @ value)
        if self.out_proj is not None:
            context = self.out_proj(context)
        return context, weights


def masked_softmax(scores, valid_lens):
    """d2l's: scores (N, H, L, S) of keys behind a length, given for each
    sequence or for each of its queries, become -1e6."""
    if valid_lens is None:
        return torch.softmax(scores, -1)
    if valid_lens.dim() == 1:
        valid_lens = valid_lens[:, None]
    positions = torch.arange(scores.shape[-1])
    is_valid = positions < valid_lens[:, None, :, None]
    return torch.softmax(scores.masked_fill(~is_valid, -1e6), -1)


class D2lDotProductAttention(nn.Module):
    """d2l.DotProductAttention."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Identity()

    def forward(self, queries, keys, values, valid_lens):
        """Weights are (N, 1, L, S), as of one head."""
        scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
        weights = masked_softmax(scores[:, None], valid_lens)
        return (self.dropout(weights) @ values[:, None]).squeeze(1), weights


class D2lAttention(nn.Module):
    """d2l.MultiHeadAttention of given input sizes."""

    def __init__(self, sizes, num_hiddens, num_heads, bias):
        super().__init__()
        query_size, key_size, value_size = sizes
        self.num_heads = num_heads
        self.W_q = nn.Linear(query_size, num_hiddens, bias=bias)
        self.W_k = nn.Linear(key_size, num_hiddens, bias=bias)
        self.W_v = nn.Linear(value_size, num_hiddens, bias=bias)
        self.W_o = nn.Linear(num_hiddens, num_hiddens, bias=bias)
        self.dropout = nn.Identity()

    def forward(self, queries, keys, values, valid_lens):
        queries = split_heads(self.W_q(queries), self.num_heads)
        keys = split_heads(self.W_k(keys), self.num_heads)
        values = split_heads(self.W_v(values), self.num_heads)
        scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
        weights = masked_softmax(scores, valid_lens)
        output = self.W_o(join_heads(self.dropout(weights) @ values))
        return output, weights


class _AddNorm(nn.Module):
    def __init__(self, num_hiddens):
        super().__init__()
        self.dropout = nn.Identity()
        self.ln = nn.LayerNorm(num_hiddens)

    def forward(self, x, y):
        return self.ln(self.dropout(y) + x)


class _PositionWiseFFN(nn.Module):
    def __init__(self, num_hiddens, ffn_num_hiddens):
        super().__init__()
        self.dense1 = nn.Linear(num_hiddens, ffn_num_hiddens)
        self.dense2 = nn.Linear(ffn_num_hiddens, num_hiddens)

    def forward(self, x):
        return self.dense2(functional.relu(self.dense1(x)))


class D2lEncoderBlock(nn.Module):
    """d2l.TransformerEncoderBlock."""

    def __init__(self, num_hiddens, ffn_num_hiddens, num_heads, use_bias):
        super().__init__()
        sizes = (num_hiddens,) * 3
        self.attention = D2lAttention(sizes, num_hiddens, num_heads, use_bias)
        self.addnorm1 = _AddNorm(num_hiddens)
        self.ffn = _PositionWiseFFN(num_hiddens, ffn_num_hiddens)
        self.addnorm2 = _AddNorm(num_hiddens)

    def forward(self, x, valid_lens):
        y = self.addnorm1(x, self.attention(x, x, x, valid_lens)[0])
        return self.addnorm2(y, self.ffn(y))


class HandWrittenBlock(nn.Module):
    """An encoder layer as people write it: torch's or their own attention, two
    norms and a feed-forward network in nn.Sequential. Batch first."""

    def __init__(self, attention, inner_width, gelu, norm_first, eps):
        super().__init__()
        width = attention.out_proj.out_features
        self.self_attn = attention
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.ffn = nn.Sequential(
            nn.Linear(width, inner_width),
            nn.GELU() if gelu else nn.ReLU(),
            nn.Linear(inner_width, width),
        )
        self.norm_first = norm_first

    def forward(self, x, mask):
        if self.norm_first:
            x = x + self._attend(self.norm1(x), mask)
            return x + self.ffn(self.norm2(x))
        x = self.norm1(x + self._attend(x, mask))
        return self.norm2(x + self.ffn(x))

    def _attend(self, x, mask):
        if isinstance(self.self_attn, HandWrittenAttention):
            return self.self_attn(x, x, x, mask, blind_weight=0.0)[0]
        mask = mask.flatten(0, 1)
        return self.self_attn(x, x, x, attn_mask=mask, need_weights=False)[0]
