# SPDX-License-Identifier: Apache-2.0
"""Recognises encoder layers, and stacks of them, by what their tensors are called."""

from __future__ import annotations

import collections
import dataclasses
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple
from typing import Union

from ._attention_layers import read_attention
from ._layers import D2L_BLOCK, D2L_MULTI_HEAD, ENCODER, ENCODER_LAYER, Affine
from ._layers import Attention, FoundLayer, Part, Refused, Said, Shapes
from ._layers import behind, has_bias, linear, norm, present, tensors_of

_UNKNOWN = (
    "nhead",
    "batch_first",
    "norm_first",
    "activation",
    "layer_norm_eps",
    "dropout",
)

# What norms beside a stack's layers are called; those at its end, and those that are
# part of the embeddings or of what comes behind pooling.
_NORM = r"(?i).*norm.*|ln|ln_.*|.*_ln"
_FINAL_NORM = (
    r"(final_|post_|last_)?(layer_?norm|norm|ln)"
    r"|(layer_?norm|norm|ln)_(f|final|post)"
)
_OUTER_NORM = r"(?i).*(emb|pre|patch|fc_).*"


@dataclasses.dataclass(frozen=True)
class _Family:
    """What a family calls the parts of an encoder layer.

    Attributes:
        norm_first: where the norms are, if the names tell.
        foreign: whether the layer is not PyTorch's, or written like it.
    """

    attention: str
    norm1: str
    norm2: str
    linear1: str
    linear2: str
    norm_first: Optional[bool] = None
    foreign: bool = True


_FAMILIES = (
    _Family("self_attn", "norm1", "norm2", "linear1", "linear2", foreign=False),
    _Family("self_attn", "norm1", "norm2", "ffn.0", "ffn.2", foreign=False),
    # BERT, RoBERTa, ELECTRA.
    _Family(
        "attention",
        "attention.output.LayerNorm",
        "output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        norm_first=False,
    ),
    # DistilBERT.
    _Family(
        "attention",
        "sa_layer_norm",
        "output_layer_norm",
        "ffn.lin1",
        "ffn.lin2",
        norm_first=False,
    ),
    # ViT, DeiT.
    _Family(
        "attention",
        "layernorm_before",
        "layernorm_after",
        "intermediate.dense",
        "output.dense",
        norm_first=True,
    ),
    # CLIP, SigLIP.
    _Family(
        "self_attn", "layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2", norm_first=True
    ),
    # HuggingFace's Whisper, BART, Marian, M2M100, OPT.
    _Family("self_attn", "self_attn_layer_norm", "final_layer_norm", "fc1", "fc2"),
    # OpenAI's Whisper.
    _Family("attn", "attn_ln", "mlp_ln", "mlp.0", "mlp.2", norm_first=True),
    # wav2vec 2.0, HuBERT.
    _Family(
        "attention",
        "layer_norm",
        "final_layer_norm",
        "feed_forward.intermediate_dense",
        "feed_forward.output_dense",
    ),
    # timm.
    _Family("attn", "norm1", "norm2", "mlp.fc1", "mlp.fc2"),
    # OpenAI's CLIP, and GPT-2 of linear layers.
    _Family("attn", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj"),
)


def read_encoder_layer(
    prefix: str, names: Shapes, output: Optional[str] = None
) -> Optional[FoundLayer]:
    """An encoder layer whose tensors are all there, and no others."""
    for family in _FAMILIES:
        layer = _of_family(family, prefix, names, output)
        if layer is not None and not _strangers(layer, prefix, names):
            return layer
    return None


def _of_family(
    family: _Family, prefix: str, names: Shapes, output: Optional[str]
) -> Optional[FoundLayer]:
    norms = norm("norm1", family.norm1, names), norm("norm2", family.norm2, names)
    attention = read_attention(behind(f"{family.attention}.", names), output)
    if norms[0] is None or norms[1] is None or not _is_inner(attention):
        return None
    assert isinstance(attention, Attention)
    width = attention.known["embed_dim"]
    hidden = _feedforward_width(family, width, names)
    if hidden is None:
        return None
    affines = [
        *(_moved(affine, family.attention) for affine in attention.affines),
        linear("linear1", family.linear1, names),
        linear("linear2", family.linear2, names),
        norms[0],
        norms[1],
    ]
    known = {
        "d_model": width,
        "dim_feedforward": hidden,
        "bias": has_bias(affines),
        "separate_projections": attention.known.get("separate_projections", False),
    }
    if family.norm_first is not None:
        known["norm_first"] = family.norm_first
    return FoundLayer(
        prefix,
        ENCODER_LAYER,
        known,
        tuple(field for field in _UNKNOWN if field not in known),
        tensors_of(prefix, affines),
        attention=f"{prefix}{family.attention}.",
        foreign=family.foreign,
    )


def _feedforward_width(family: _Family, width: int, names: Shapes) -> Optional[int]:
    """Of two linear layers that fit; None where they are not there."""
    first, second = f"{family.linear1}.weight", f"{family.linear2}.weight"
    if not present(names, first, second) or len(names[first]) != 2:
        return None
    hidden = names[first][0]
    fit = names[first] == (hidden, width) and names[second] == (width, hidden)
    return hidden if fit else None


def _is_inner(attention: object) -> bool:
    """Whether an encoder layer has it: as wide as its output, and projected."""
    if not isinstance(attention, Attention) or attention.transposed:
        return False
    known = attention.known
    if attention.kind == D2L_MULTI_HEAD or known.get("add_bias_kv"):
        return False
    widths = {known.get(k) for k in ("query_dim", "kdim", "vdim", "embed_dim")}
    return len(widths - {None}) == 1 and known.get("output_projection", True)


def _moved(affine: Affine, holder: str) -> Affine:
    """An attention's, as a part of its encoder layer."""
    parts: Optional[Tuple[Part, ...]] = affine.parts and tuple(
        f"{holder}.{part}" if isinstance(part, str) else part for part in affine.parts
    )
    return Affine(
        f"self_attn.{affine.weight}",
        f"self_attn.{affine.bias}",
        f"{holder}.{affine.stored}",
        parts,
        affine.width,
    )


def _strangers(layer: FoundLayer, prefix: str, names: Shapes) -> List[str]:
    """Tensors behind the prefix that do something, and not in this layer."""
    own = set(layer.stored())
    return [
        name
        for name, shape in names.items()
        if prefix + name not in own and not is_buffer(name, shape)
    ]


def is_buffer(name: str, shape: Tuple[int, ...]) -> bool:
    """Whether this is a mask or a counter, which are not parameters."""
    last = name.rpartition(".")[2]
    if last == "bias":
        return len(shape) > 1
    return last in ("masked_bias", "mask", "attn_mask", "tril", "position_ids")


def read_d2l_block(prefix: str, names: Shapes) -> Optional[FoundLayer]:
    """d2l.TransformerEncoderBlock."""
    rest = [
        f"{part}.{kind}"
        for part in ("addnorm1.ln", "ffn.dense1", "ffn.dense2", "addnorm2.ln")
        for kind in ("weight", "bias")
    ]
    attention = read_attention(behind("attention.", names))
    if not present(names, *rest) or not isinstance(attention, Attention):
        return None
    if attention.kind != D2L_MULTI_HEAD or not names["ffn.dense1.weight"]:
        return None
    known = {
        "num_hiddens": attention.known["num_hiddens"],
        "ffn_num_hiddens": names["ffn.dense1.weight"][0],
        "use_bias": attention.known["bias"],
    }
    inner = tensors_of(f"{prefix}attention.", attention.affines)
    tensors = {f"attention.{own}": parts for own, parts in inner.items()}
    tensors.update({name: (prefix + name,) for name in rest})
    return FoundLayer(
        prefix,
        D2L_BLOCK,
        known,
        ("num_heads", "dropout"),
        tensors,
        attention=f"{prefix}attention.",
    )


def find_stacks(
    layers: Sequence[FoundLayer], shapes: Shapes, said: Said
) -> List[Union[FoundLayer, Refused]]:
    """Encoders whose layers are alike: "encoder." of "encoder.layers.0.", ...

    Where two lists of layers lie beside one another, each is known by its own prefix.
    """
    lists: Dict[str, Dict[str, FoundLayer]] = {}
    for layer in layers:
        number = layer.prefix[:-1].rpartition(".")[2]
        if layer.kind == ENCODER_LAYER and number.isdigit():
            place = layer.prefix[: -len(number) - 1]
            lists.setdefault(place, {})[number] = layer
    holders = collections.Counter(map(_holder, lists))
    stacks: List[Union[FoundLayer, Refused]] = []
    for place, members in lists.items():
        prefix = _holder(place) if holders[_holder(place)] == 1 else place
        odd = _odd_one(members, {n.partition(".")[0] for n in behind(place, shapes)})
        if odd is None:
            ordered = [members[str(number)] for number in range(len(members))]
            stacks.append(_stack(prefix, ordered, behind(prefix, shapes), said))
        else:
            why = f"{place}{odd} is no encoder layer as the others are"
            stacks.append(Refused(prefix, why, "no stack of layers"))
    return stacks


def _holder(place: str) -> str:
    """Prefix of the module that a list of layers is a part of."""
    holder = place[:-1].rpartition(".")[0]
    return f"{holder}." if holder else ""


def _odd_one(members: Mapping[str, FoundLayer], beside: Set[str]) -> Optional[int]:
    """The first number that is none of the alike layers; None where all are."""
    first = members.get("0")
    count = len({name for name in beside if name.isdigit()} | set(members))
    for number in range(count):
        member = members.get(str(number))
        if member is None or first is None or member.known != first.known:
            return number
    return None


def _stack(
    prefix: str, members: Sequence[FoundLayer], names: Shapes, said: Said
) -> Union[FoundLayer, Refused]:
    first = members[0]
    tensors: Dict[str, Tuple[Part, ...]] = {
        f"layers.{number}.{own}": parts
        for number, member in enumerate(members)
        for own, parts in member.tensors.items()
    }
    final = _final_norm(first.known, prefix, said.kept(names))
    if isinstance(final, str):
        return Refused(prefix, final, "no stack of layers")
    unknown = first.unknown
    if final is not None:
        unknown += ("norm_eps",)
        if first.known["bias"]:
            final = dataclasses.replace(final, parts=final.parts or (final.width,))
        tensors.update(tensors_of(prefix, [final]))
    known: Dict[str, Any] = {
        "layer": first.known,
        "num_layers": len(members),
        "norm": final is not None,
    }
    stored = {part for parts in tensors.values() for part in parts}
    return FoundLayer(
        prefix,
        ENCODER,
        known,
        unknown,
        tensors,
        attention=first.attention,
        foreign=first.foreign,
        left_out=tuple(n for n in names if prefix + n not in stored),
    )


def _final_norm(
    layer: Mapping[str, Any], prefix: str, inside: Shapes
) -> Union[Affine, str, None]:
    """The norm behind a stack's layers, or why it is not known whether there is one."""
    parts = [name.split(".") for name in inside]
    norms = {
        part[0]
        for part in parts
        if len(part) == 2
        and part[1] in ("weight", "gamma")
        and re.fullmatch(_NORM, part[0])
        and not re.fullmatch(_OUTER_NORM, part[0])
    }
    if not norms:
        return None
    named = ", ".join(prefix + name for name in sorted(norms))
    final = norm("norm", min(norms), inside)
    if len(norms) > 1 or final is None or not re.fullmatch(_FINAL_NORM, min(norms)):
        return f"names do not tell whether it ends in a norm: {named}"
    if any(part[0] == "pos_conv_embed" for part in parts):  # wav2vec 2.0 has both.
        return f"names do not tell whether {named} is before the layers or behind them"
    if final.width != layer["d_model"] or (final.parts and not layer["bias"]):
        return f"{named} is of another width, or has a bias where the layers have none"
    return final
