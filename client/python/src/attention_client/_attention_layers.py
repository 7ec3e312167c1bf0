# SPDX-License-Identifier: Apache-2.0
"""Recognises attention layers by what their tensors are called and how wide they are.

Each reader takes the names behind a prefix and gives the layer, None where they are
not of its family, or why no kind of module computes what they are of.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence, Tuple, Union

from ._layers import D2L_MULTI_HEAD, MULTI_HEAD, Affine, Attention, Part, Refused
from ._layers import Shapes, has_bias, linear, present

Found = Union[Attention, Refused, str, None]

# What the linear layers of query, key and value are called, and which of _OUTPUTS
# the one of the output is if it is not beside them.
_PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj"),
    ("q", "k", "v"),
    ("query", "key", "value"),
    ("W_query", "W_key", "W_value"),
    ("wq", "wk", "wv"),
    ("w_qs", "w_ks", "w_vs"),
    ("to_q", "to_k", "to_v"),
    ("q_lin", "k_lin", "v_lin"),
)
_OUTPUTS = (
    "out_proj",
    "out",
    "o_proj",
    "fc_out",
    "wo",
    "proj",
    "o",
    "out_lin",
    "to_out.0",
    "to_out",
    "dense",
    "fc",
)
# Of _OUTPUTS, what a model's own last layer may be called too: an attention's only
# beside these projections, and the tensor.
_AMBIGUOUS = ("fc_out", "proj", "dense", "fc")
_CERTAIN = (
    ("w_qs", "fc", "fc.weight"),
    ("query", "dense", "LayerNorm.weight"),  # ALBERT.
)
# HuggingFace's, of BERT's and of ViT's families: the projections lie in a module of
# their own.
_NESTED = ("self", "attention")
_NESTED_OUTPUT = "output.dense"
# Query, key and value in one linear layer, in this order, and the output.
_FUSED = (("qkv", "proj"), ("c_attn", "c_proj"))

_NOT_IN_MULTI_HEAD = ("num_heads", "batch_first", "add_zero_attn", "dropout")
_NOT_IN_OTHERS = ("num_heads", "batch_first", "dropout")


def read_attention(names: Shapes, output: Optional[str] = None) -> Found:
    """Whichever family's it is; `output` is that of Said."""
    for read in (_multi_head, _d2l, _nested, _fused):
        found = read(names)
        if found is not None:
            return found
    return _separate(names, output)


def _is_matrix(names: Shapes, name: str) -> bool:
    return len(names[name]) == 2 and min(names[name]) > 0


def _misshapen(names: Shapes, *wanted: str) -> Optional[str]:
    """What is wrong with weights that have to be matrices."""
    for name in wanted:
        if not _is_matrix(names, name):
            return (
                f"{name} has shape {list(names[name])}, expected a matrix: is this "
                "one part of several, or quantized?"
            )
    return None


def _multi_head(names: Shapes) -> Found:
    """torch.nn.MultiheadAttention."""
    weights = [f"{part}_proj_weight" for part in "qkv"]
    separate = present(names, *weights)
    if not separate:
        weights = ["in_proj_weight"]
    if not present(names, "out_proj.weight", *weights):
        return None
    wrong = _misshapen(names, "out_proj.weight", *weights)
    if wrong:
        return wrong
    width = names["out_proj.weight"][0]
    if not separate and names["in_proj_weight"] != (3 * width, width):
        return f"in_proj_weight has shape {list(names['in_proj_weight'])}"
    parts: Optional[Tuple[Part, ...]] = (
        ("in_proj_bias",) if "in_proj_bias" in names else None
    )
    bias = Affine(weights[0], "in_proj_bias", weights[0], parts, 3 * width)
    affines = (bias, linear("out_proj", "out_proj", names))
    known: Dict[str, Any] = {
        "embed_dim": width,
        "bias": has_bias(affines),
        "add_bias_kv": "bias_k" in names,
    }
    if separate:
        known["kdim"] = names["k_proj_weight"][1]
        known["vdim"] = names["v_proj_weight"][1]
    extras = [*weights[1:], *(n for n in ("bias_k", "bias_v") if n in names)]
    return Attention(MULTI_HEAD, known, _NOT_IN_MULTI_HEAD, affines, tuple(extras))


def _d2l(names: Shapes) -> Found:
    """d2l.MultiHeadAttention."""
    weights = [f"W_{part}.weight" for part in "qkvo"]
    if not present(names, *weights):
        return None
    wrong = _misshapen(names, *weights)
    if wrong:
        return wrong
    affines = tuple(linear(f"W_{part}", f"W_{part}", names) for part in "qkvo")
    known = {
        "num_hiddens": names["W_o.weight"][0],
        "query_size": names["W_q.weight"][1],
        "key_size": names["W_k.weight"][1],
        "value_size": names["W_v.weight"][1],
        "bias": has_bias(affines),
    }
    return Attention(D2L_MULTI_HEAD, known, ("num_heads", "dropout"), affines)


def _fused(names: Shapes) -> Found:
    """One matrix for query, key and value: timm's and GPT-2's.

    GPT-2's Conv1D has it (E, 3 E) where a linear layer has (3 E, E), which also says
    how the square matrix of the output lies.
    """
    for stored, output in _FUSED:
        if not present(names, f"{stored}.weight", f"{output}.weight"):
            continue
        wrong = _misshapen(names, f"{stored}.weight", f"{output}.weight")
        if wrong:
            return wrong
        shape, width = names[f"{stored}.weight"], names[f"{output}.weight"][0]
        transposed = shape == (width, 3 * width)
        if names[f"{output}.weight"] != (width, width) or not (
            transposed or shape == (3 * width, width)
        ):
            return (
                f"{stored}.weight has shape {list(shape)} beside {output}.weight of "
                f"{list(names[f'{output}.weight'])}: expected three projections"
            )
        bias = Affine(
            "in_proj_weight",
            "in_proj_bias",
            f"{stored}.weight",
            _fused_bias(stored, names, width),
            3 * width,
        )
        affines = (bias, linear("out_proj", output, names))
        known = {"embed_dim": width, "bias": has_bias(affines)}
        return Attention(
            MULTI_HEAD, known, _NOT_IN_OTHERS, affines, transposed=transposed
        )
    return None


def _fused_bias(stored: str, names: Shapes, width: int) -> Optional[Tuple[Part, ...]]:
    """The bias of all three; BEiT and its kin store two, and the key has none."""
    if f"{stored}.bias" in names:
        return (f"{stored}.bias",)
    if present(names, "q_bias", "v_bias"):
        return ("q_bias", "k_bias" if "k_bias" in names else width, "v_bias")
    return None


def _nested(names: Shapes) -> Found:
    """BERT's and ViT's in HuggingFace's names: self.query, output.dense."""
    for holder in _NESTED:
        stored = [f"{holder}.{part}" for part in ("query", "key", "value")]
        if present(names, *(f"{n}.weight" for n in [*stored, _NESTED_OUTPUT])):
            return _of_linears(names, [*stored, _NESTED_OUTPUT])
    return None


def _separate(names: Shapes, said: Optional[str]) -> Found:
    """A linear layer for each, with or without one for the output."""
    for projections in _PROJECTIONS:
        if not present(names, *(f"{part}.weight" for part in projections)):
            continue
        outputs = [output for output in _OUTPUTS if f"{output}.weight" in names]
        if said == "":
            outputs = []
        elif said is not None and f"{said}.weight" in names:
            outputs = [said]
        elif len(outputs) > 1 or not _is_certain(projections[0], outputs, names):
            options = " or ".join(f"--output {output}" for output in outputs)
            why = f"names do not tell its output projection: say {options}"
            return Refused("", f"{why} or --no-output", "not converted")
        return _of_linears(names, [*projections, *outputs])
    return None


def _is_certain(query: str, outputs: Sequence[str], names: Shapes) -> bool:
    """Whether these are an attention's, beside a query's projection of this name."""
    return all(
        output not in _AMBIGUOUS
        or any((query, output) == c[:2] and c[2] in names for c in _CERTAIN)
        for output in outputs
    )


def _of_linears(names: Shapes, stored: Any) -> Found:
    wrong = _misshapen(names, *(f"{name}.weight" for name in stored))
    if wrong:
        return wrong
    shapes = [names[f"{name}.weight"] for name in stored]
    width = shapes[0][0]
    if shapes[1][0] != width or shapes[2][0] != width:
        return "its keys and values have fewer heads than its queries (or other sizes)"
    if len(stored) > 3 and shapes[3] != (width, width):
        return (
            f"its output takes {shapes[3][1]} numbers to {shapes[3][0]}, expected the "
            f"width of its heads, {width}, both times"
        )
    holder = stored[0].rpartition(".")[0]
    aside = {n: f"{holder}.{n}_bias" if holder else f"{n}_bias" for n in "qkv"}
    affines = tuple(
        linear(own, name, names, *([aside[own[0]]] if own != "out_proj" else []))
        for own, name in zip(("q_proj", "k_proj", "v_proj", "out_proj"), stored)
    )
    known = {
        "embed_dim": width,
        "query_dim": shapes[0][1],
        "kdim": shapes[1][1],
        "vdim": shapes[2][1],
        "bias": has_bias(affines),
        "output_projection": len(stored) > 3,
        "separate_projections": True,
    }
    return Attention(MULTI_HEAD, known, _NOT_IN_OTHERS, affines)
