# SPDX-License-Identifier: Apache-2.0
"""Finds attention layers in a model's state dict, by names and shapes."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

MULTI_HEAD = "multi_head_attention"
D2L_MULTI_HEAD = "d2l_multi_head_attention"
ENCODER_LAYER = "transformer_encoder_layer"
D2L_BLOCK = "d2l_transformer_encoder_block"
ENCODER = "transformer_encoder"

# What the linear layers of query, key and value, and of the output, are called in
# modules written by hand.
_PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj"),
    ("q", "k", "v"),
    ("query", "key", "value"),
    ("W_query", "W_key", "W_value"),
    ("wq", "wk", "wv"),
)
_OUTPUTS = ("out_proj", "out", "o_proj", "fc_out", "wo", "proj")

_NORMS = ("norm1.weight", "norm2.weight")
_NOT_IN_MULTI_HEAD = ("num_heads", "batch_first", "add_zero_attn", "dropout")
_NOT_IN_SEPARATE = ("num_heads", "batch_first", "dropout")
_NOT_IN_ENCODER_LAYER = (
    "nhead",
    "batch_first",
    "norm_first",
    "activation",
    "layer_norm_eps",
    "dropout",
)

Shapes = Mapping[str, Tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class FoundLayer:
    """A layer in a state dict.

    Attributes:
        prefix: what its weights' names begin with, "encoder.layers.0.self_attn.".
        kind: the field of ModuleConfig that describes it.
        known: fields of that configuration that the shapes tell.
        unknown: fields that they do not tell.
        names: names in the state dict by the module's own.
        zeros: shapes, by the module's own names, of biases that are not there while
            others are: zero has the same meaning.
        inside: prefix of the layer this one is a part of, or None.
    """

    prefix: str
    kind: str
    known: Dict[str, Any]
    unknown: Tuple[str, ...]
    names: Dict[str, str]
    zeros: Dict[str, Tuple[int, ...]] = dataclasses.field(default_factory=dict)
    inside: Optional[str] = None


def find_layers(shapes: Shapes) -> List[FoundLayer]:
    """Every attention and encoder layer, those inside others included, by prefix."""
    found: List[FoundLayer] = []
    for prefix in sorted(_prefixes(shapes)):
        names = {n[len(prefix) :]: s for n, s in shapes.items() if n.startswith(prefix)}
        for read in (_encoder_layer, _d2l_block, _multi_head, _d2l, _separate):
            layer = read(prefix, names)
            if layer is not None:
                found.append(layer)
                break
    return [_placed(layer, found) for layer in found]


def find_stacks(layers: Sequence[FoundLayer], shapes: Shapes) -> List[FoundLayer]:
    """Encoders whose layers are alike: "encoder." of "encoder.layers.0.", ..."""
    by_prefix = {layer.prefix: layer for layer in layers}
    stacks = []
    for prefix, first in by_prefix.items():
        if not prefix.endswith("layers.0.") or first.kind != ENCODER_LAYER:
            continue
        base = prefix[: -len("0.")]
        members = [first]
        while f"{base}{len(members)}." in by_prefix:
            members.append(by_prefix[f"{base}{len(members)}."])
        if all((m.kind, m.known) == (first.kind, first.known) for m in members):
            stacks.append(_stack(base[: -len("layers.")], members, shapes))
    return stacks


def _stack(prefix: str, members: Sequence[FoundLayer], shapes: Shapes) -> FoundLayer:
    names, zeros = {}, {}
    for number, member in enumerate(members):
        for own, name in member.names.items():
            names[f"layers.{number}.{own}"] = name
        for own, shape in member.zeros.items():
            zeros[f"layers.{number}.{own}"] = shape
    first = members[0]
    known = {"layer": first.known, "num_layers": len(members), "norm": False}
    unknown = first.unknown
    if f"{prefix}norm.weight" in shapes:
        known["norm"] = True
        unknown += ("norm_eps",)
        names["norm.weight"] = f"{prefix}norm.weight"
        if f"{prefix}norm.bias" in shapes:
            names["norm.bias"] = f"{prefix}norm.bias"
        elif first.known["bias"]:
            zeros["norm.bias"] = shapes[f"{prefix}norm.weight"]
    return FoundLayer(prefix, ENCODER, known, unknown, names, zeros)


def _prefixes(shapes: Shapes) -> Set[str]:
    """Every "a.b." that names begin with, and ""."""
    prefixes = {""}
    for name in shapes:
        parts = name.split(".")[:-1]
        prefixes.update(
            ".".join(parts[:count]) + "." for count in range(1, len(parts) + 1)
        )
    return prefixes


def _placed(layer: FoundLayer, found: Sequence[FoundLayer]) -> FoundLayer:
    for other in found:
        own = set(other.names.values())
        if other is not layer and own > set(layer.names.values()):
            return dataclasses.replace(layer, inside=other.prefix)
    return layer


def _present(names: Shapes, *wanted: str) -> bool:
    return all(name in names for name in wanted)


def _renamed(prefix: str, names: Shapes, own: Mapping[str, str]) -> Dict[str, str]:
    """Names in the state dict of the wanted ones that are there."""
    return {name: prefix + stored for name, stored in own.items() if stored in names}


def _same(names: Sequence[str]) -> Dict[str, str]:
    return {name: name for name in names}


def _multi_head(prefix: str, names: Shapes) -> Optional[FoundLayer]:
    separate = _present(names, "q_proj_weight", "k_proj_weight", "v_proj_weight")
    if not _present(names, "out_proj.weight") or not (
        separate or "in_proj_weight" in names
    ):
        return None
    known: Dict[str, Any] = {
        "embed_dim": names["out_proj.weight"][0],
        "bias": "in_proj_bias" in names,
        "add_bias_kv": "bias_k" in names,
    }
    if separate:
        known["kdim"] = names["k_proj_weight"][1]
        known["vdim"] = names["v_proj_weight"][1]
    weights = [f"{part}_proj_weight" for part in "qkv"]
    own = ["in_proj_weight", *weights, "in_proj_bias", "bias_k", "bias_v"]
    own += ["out_proj.weight", "out_proj.bias"]
    stored = _renamed(prefix, names, _same(own))
    return FoundLayer(prefix, MULTI_HEAD, known, _NOT_IN_MULTI_HEAD, stored)


def _d2l(prefix: str, names: Shapes) -> Optional[FoundLayer]:
    weights = [f"W_{part}.weight" for part in "qkvo"]
    if not _present(names, *weights):
        return None
    known = {
        "num_hiddens": names["W_o.weight"][0],
        "query_size": names["W_q.weight"][1],
        "key_size": names["W_k.weight"][1],
        "value_size": names["W_v.weight"][1],
        "bias": "W_q.bias" in names,
    }
    own = weights + [f"W_{part}.bias" for part in "qkvo"]
    stored = _renamed(prefix, names, _same(own))
    return FoundLayer(prefix, D2L_MULTI_HEAD, known, ("num_heads", "dropout"), stored)


def _d2l_block(prefix: str, names: Shapes) -> Optional[FoundLayer]:
    rest = [
        f"{part}.{kind}"
        for part in ("addnorm1.ln", "ffn.dense1", "ffn.dense2", "addnorm2.ln")
        for kind in ("weight", "bias")
    ]
    weights = [f"attention.W_{part}.weight" for part in "qkvo"]
    if not _present(names, *weights, *rest):
        return None
    known = {
        "num_hiddens": names["attention.W_o.weight"][0],
        "ffn_num_hiddens": names["ffn.dense1.weight"][0],
        "use_bias": "attention.W_q.bias" in names,
    }
    own = weights + [f"attention.W_{part}.bias" for part in "qkvo"] + rest
    stored = _renamed(prefix, names, _same(own))
    return FoundLayer(prefix, D2L_BLOCK, known, ("num_heads", "dropout"), stored)


def _linear_names(names: Shapes) -> Optional[Dict[str, str]]:
    """The names of separate projections by the service's own, or None."""
    for projections in _PROJECTIONS:
        if not _present(names, *(f"{part}.weight" for part in projections)):
            continue
        own = dict(zip(("q_proj", "k_proj", "v_proj"), projections))
        for output in _OUTPUTS:
            if f"{output}.weight" in names:
                own["out_proj"] = output
                break
        return own
    return None


def _separate(prefix: str, names: Shapes) -> Optional[FoundLayer]:
    linears = _linear_names(names)
    if linears is None or any(len(names[f"{n}.weight"]) != 2 for n in linears.values()):
        return None
    widths = {own: names[f"{stored}.weight"] for own, stored in linears.items()}
    if len({shape[0] for shape in widths.values()}) != 1:
        return None  # Grouped heads, or no attention at all.
    bias = any(f"{stored}.bias" in names for stored in linears.values())
    known = {
        "embed_dim": widths["q_proj"][0],
        "query_dim": widths["q_proj"][1],
        "kdim": widths["k_proj"][1],
        "vdim": widths["v_proj"][1],
        "bias": bias,
        "output_projection": "out_proj" in linears,
        "separate_projections": True,
    }
    own = {
        f"{o}.{kind}": f"{s}.{kind}"
        for o, s in linears.items()
        for kind in ("weight", "bias")
    }
    zeros: Dict[str, Tuple[int, ...]] = {
        f"{own}.bias": (widths[own][0],)
        for own, stored in linears.items()
        if bias and f"{stored}.bias" not in names
    }
    stored = _renamed(prefix, names, own)
    return FoundLayer(prefix, MULTI_HEAD, known, _NOT_IN_SEPARATE, stored, zeros)


def _encoder_layer(prefix: str, names: Shapes) -> Optional[FoundLayer]:
    """PyTorch's, and those written by hand with ffn.0 and ffn.2."""
    first, second = (
        ("linear1", "linear2") if "linear1.weight" in names else ("ffn.0", "ffn.2")
    )
    wanted = (f"{first}.weight", f"{second}.weight", *_NORMS)
    if not _present(names, *wanted) or "norm3.weight" in names:
        return None
    attention = _inner_attention(names)
    bias = f"{first}.bias" in names
    if attention is None or (attention.known["bias"] and not bias):
        return None
    rest = {"linear1": first, "linear2": second, "norm1": "norm1", "norm2": "norm2"}
    own = {
        f"{o}.{kind}": f"{s}.{kind}"
        for o, s in rest.items()
        for kind in ("weight", "bias")
    }
    stored = {f"self_attn.{o}": prefix + s for o, s in attention.names.items()}
    stored.update(_renamed(prefix, names, own))
    width = attention.known["embed_dim"]
    known = {
        "d_model": width,
        "dim_feedforward": names[f"{first}.weight"][0],
        "bias": bias,
        "separate_projections": attention.known.get("separate_projections", False),
    }
    zeros = {f"self_attn.{own}": shape for own, shape in attention.zeros.items()}
    if bias and not attention.known["bias"]:
        zeros.update(_zero_biases(known["separate_projections"], width))
    return FoundLayer(
        prefix, ENCODER_LAYER, known, _NOT_IN_ENCODER_LAYER, stored, zeros
    )


def _inner_attention(names: Shapes) -> Optional[FoundLayer]:
    """The attention of an encoder layer: as wide as its output, and projected."""
    inner = {
        name[len("self_attn.") :]: shape
        for name, shape in names.items()
        if name.startswith("self_attn.")
    }
    prefix = "self_attn."
    found = _multi_head(prefix, inner) or _separate(prefix, inner)
    if found is None or found.known.get("add_bias_kv"):
        return None
    widths = {found.known.get(k) for k in ("query_dim", "kdim", "vdim", "embed_dim")}
    if len(widths - {None}) != 1 or not found.known.get("output_projection", True):
        return None
    return found


def _zero_biases(separate: bool, width: int) -> Dict[str, Tuple[int, ...]]:
    """The biases of an attention that has none, in a layer that has."""
    if not separate:
        return {
            "self_attn.in_proj_bias": (3 * width,),
            "self_attn.out_proj.bias": (width,),
        }
    parts = ("q_proj", "k_proj", "v_proj", "out_proj")
    return {f"self_attn.{part}.bias": (width,) for part in parts}
