# SPDX-License-Identifier: Apache-2.0
"""Says why a layer that looks like attention is none that the service computes.

Many models have the projections of multi-head attention and do more between them.
Their tensors, or the names of those around them, tell.
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Tuple

from ._layers import Shapes

_ROTARY = "rotary position embeddings"
_RELATIVE = "relative positions take part in its scores"

# Components of names of tensors that take part in an attention; those of the first
# two may lie outside it, once for all layers.
_SHARED = (
    (r"\w*rotary\w*|(\w+_)?rope(_\w+)?|inv_freq|freqs_(cis|cos|sin)", _ROTARY),
    (
        r"\w*relative_(attention|position)_\w+|rel_pos\w*|rel_attn_embed"
        r"|rel_embeddings|gru_rel_pos\w*|pos_bias\w*|linear_pos|attention_biases"
        r"|distance_embedding",
        _RELATIVE,
    ),
)
_INSIDE = (
    (
        r"(q|k|query|key|qk)_?(norm|ln|layernorm|layer_norm)\w*"
        r"|(norm|ln|layer_norm|layernorm)_?(q|k|query|key)",
        "its queries and keys are normalised",
    ),
    (r"inner_attn_ln", "its context is normalised"),
    (r"logit_scale|temperature", "its scores have a learned scale"),
    (r"sinks?", "it has attention sinks"),
    (r"gate|g_proj", "its context has a gate"),
    (r"proj_l|proj_w", "its heads are mixed"),
    (r"pool_[qkv]|sr|(dw)?conv\w*", "it has pooling or a convolution"),
    (r"(q|k|v|query|key|value)_global", "some of its tokens see others' keys"),
    (
        r"lora_\w+|adapters?|parametrizations|weight_[gv]|\w*bias_mask",
        "its weights are in parts, such as an adapter's: merge them first",
    ),
    (
        r"qweight|qzeros|g_idx|SCB|absmax|quant_map|\w*_scale_inv|weight_scale"
        r"|weight_packed|quant_state\w*",
        "it is quantized: take the weights before that",
    ),
)
# Families known by a tensor of the layer around an attention, and one of its own.
_AROUND = (
    ("input_layernorm.weight", "", f"{_ROTARY}, as in Llama and its kin"),
    ("mlp.gate_proj.weight", "", f"{_ROTARY}, as in Llama and its kin"),
    ("attention_norm.weight", "", f"{_ROTARY}, as in Llama"),
    ("mlp.fc_in.weight", "", f"{_ROTARY}, as in GPT-J"),
    ("mlp.fc1_g.weight", "", f"{_ROTARY}, as in EVA-02"),
    ("mlp.w1.weight", "", f"{_ROTARY}, as in EVA-02"),
    ("LayerNorm.weight", "LayerNorm.weight", f"{_ROTARY}, as in ESM"),
    ("LayerNorm.gamma", "LayerNorm.gamma", f"{_ROTARY}, as in ESM"),
    ("layer_scale1.lambda1", "o_proj.weight", f"{_ROTARY}, as in DINOv3"),
)
# Models whose positions, if not in a table, are in their attention: what they have,
# the table that they then have not, and what their layers begin with.
_POSITIONS = (
    (
        "embeddings.token_type_embeddings.weight",
        "embeddings.position_embeddings.",
        "encoder.",
    ),
    ("reg_token", "pos_embed", "blocks."),
)
# Families known by how an attention's prefix ends, and one of its tensors.
_ENDINGS = (
    (r"(SelfAttention|EncDecAttention)\.", "o.weight", "T5's scores are not scaled"),
    (r"attn\.attention\.", "q_proj.weight", "GPT-Neo's scores are not scaled"),
    (r"visual\.blocks\.\d+\.attn\.", "qkv.weight", f"{_ROTARY}, as in Qwen's vision"),
)
# Projections of no kind of module, by a tensor that tells.
_PROJECTIONS = (
    ("query_key_value.weight", "query, key and value are interleaved by heads"),
    ("Wqkv.weight", f"{_ROTARY} or ALiBi in every family with Wqkv"),
    ("qkv_proj.weight", "the order of the rows of qkv_proj is not the same everywhere"),
    ("query_proj.weight", "DeBERTa's scores have terms of positions"),
    ("q_attn.weight", "key and value are one matrix"),
    ("kv_a_proj_with_mqa.weight", "multi-head latent attention"),
)


def shared_reasons(shapes: Shapes) -> Dict[str, str]:
    """Reasons that hold for every attention behind a prefix.

    A tensor of one of several layers speaks for all of them: T5's first layer has
    the positions of all.
    """
    reasons: Dict[str, str] = {}
    for name in shapes:
        parts = name.split(".")
        for place, part in enumerate(parts):
            why = _first(_SHARED, part)
            if why:
                number = next((i for i in range(place) if parts[i].isdigit()), place)
                scope = "".join(f"{above}." for above in parts[:number])
                reasons.setdefault(scope, f"{why} ({name})")
                break
    for known, table, layers in _POSITIONS:
        for root in [n[: -len(known)] for n in shapes if n.endswith(known)]:
            if not any(name.startswith(root + table) for name in shapes):
                why = f"{_ROTARY} or relative ones, as there is no {root}{table}"
                reasons.setdefault(root + layers, why.rstrip("."))
    return reasons


def why_not(prefix: str, names: Shapes, shapes: Shapes) -> Optional[str]:
    """What this attention has that none of the service's has, by the names behind
    its prefix and those around it."""
    for name in names:
        for part in name.split("."):
            why = _first(_INSIDE, part)
            if why:
                return f"{why} ({name})"
    if "qkv.weight" in names and "norm.weight" in names:
        return "its context is normalised (norm.weight)"
    for ending, own, why in _ENDINGS:
        if own in names and re.search(rf"(^|\.){ending}$", prefix):
            return why
    for layer in _enclosing(prefix):
        for around, own, why in _AROUND:
            if layer + around in shapes and (not own or own in names):
                return f"{why} ({layer}{around})"
    return None


def unread(names: Shapes) -> Optional[str]:
    """Why projections that no reader knows are none of the service's."""
    for name, why in _PROJECTIONS:
        if name in names:
            return f"{why} ({name})"
    return None


def _first(patterns: Tuple[Tuple[str, str], ...], part: str) -> Optional[str]:
    for pattern, why in patterns:
        if re.fullmatch(pattern, part):
            return why
    return None


def _enclosing(prefix: str) -> List[str]:
    """Prefixes of the layers an attention may lie in: one or two components above."""
    parts = prefix.split(".")[:-1]
    return ["".join(f"{part}." for part in parts[:-up]) for up in (1, 2)][: len(parts)]
