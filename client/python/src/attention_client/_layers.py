# SPDX-License-Identifier: Apache-2.0
"""What is found in a state dict: layers, and the tensors they are made of."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

MULTI_HEAD = "multi_head_attention"
D2L_MULTI_HEAD = "d2l_multi_head_attention"
ENCODER_LAYER = "transformer_encoder_layer"
D2L_BLOCK = "d2l_transformer_encoder_block"
ENCODER = "transformer_encoder"

Shape = Tuple[int, ...]
Shapes = Mapping[str, Shape]

Part = Union[str, int]
"""Of a tensor: a name in the state dict, or a number of zeros."""


@dataclasses.dataclass(frozen=True)
class FoundLayer:
    """A layer in a state dict.

    Attributes:
        prefix: what its weights' names begin with, "encoder.layers.0.self_attn.".
        kind: the field of ModuleConfig that describes it.
        known: fields of that configuration that the names and shapes tell.
        unknown: fields that they do not tell.
        tensors: by the module's own names, the parts each is made of, one behind the
            other. A bias that is not there while others are is zero: the same.
        attention: prefix of the attention in it; its own where it is one.
        transposed: whether matrices are stored (in, out).
        foreign: whether it is an encoder layer of another family than PyTorch's:
            PyTorch's defaults say nothing about it.
        inside: prefix of the layer this one is a part of, or None.
        left_out: names behind the prefix that are not the layer's.
    """

    prefix: str
    kind: str
    known: Dict[str, Any]
    unknown: Tuple[str, ...]
    tensors: Dict[str, Tuple[Part, ...]]
    attention: str
    transposed: bool = False
    foreign: bool = False
    inside: Optional[str] = None
    left_out: Tuple[str, ...] = ()

    def stored(self) -> List[str]:
        """The names of its tensors in the state dict."""
        parts = (part for parts in self.tensors.values() for part in parts)
        return [part for part in parts if isinstance(part, str)]

    def zeros(self) -> List[str]:
        """Its own names of what is zero, in whole or in part."""
        return [
            own
            for own, parts in self.tensors.items()
            if any(isinstance(part, int) for part in parts)
        ]

    def unsaid_zeros(self) -> List[str]:
        """Those of zeros() that no family is known to leave out: many have none for
        the key, or none for query, key and value."""
        zeros = self.zeros()
        return [own for own in zeros if not self._is_left_out_by_families(own, zeros)]

    def _is_left_out_by_families(self, own: str, zeros: Sequence[str]) -> bool:
        if own.endswith("in_proj_bias"):  # In torch's own names, it is never alone.
            return not self.stored_weight(own).endswith("_proj_weight")
        projection = re.fullmatch(r"(.*\.)?([qkv])_proj\.bias", own)
        if projection is None:
            return False
        holder = projection[1] or ""
        all_three = all(f"{holder}{part}_proj.bias" in zeros for part in "qkv")
        return projection[2] == "k" or all_three

    def stored_weight(self, bias: str) -> str:
        """What the weight beside a bias, by its own name, is called in the state
        dict."""
        own = bias[: -len("bias")] + "weight"
        if own not in self.tensors:  # One bias beside three weights.
            own = bias[: -len("in_proj_bias")] + "q_proj_weight"
        (stored,) = self.tensors[own]
        return str(stored)


@dataclasses.dataclass(frozen=True)
class Refused:
    """What looks like a layer, and why none is converted: `lead`, in short."""

    prefix: str
    why: str
    lead: str = "no kind of module computes it"

    def __str__(self) -> str:
        return f"{self.lead}: {self.why}"


@dataclasses.dataclass(frozen=True)
class Said:
    """What options say about names behind the prefix of a layer.

    Attributes:
        output: the linear layer of an attention's output; "" where there is none,
            None where that is not said.
        ignored: tensors that do nothing in a layer: whole names or leading runs of
            whole components.
    """

    output: Optional[str] = None
    ignored: Sequence[str] = ()

    def kept(self, names: Shapes) -> Dict[str, Shape]:
        """The names that are not ignored."""
        return {
            name: shape
            for name, shape in names.items()
            if not any(f"{name}.".startswith(f"{run}.") for run in self.ignored)
        }


@dataclasses.dataclass(frozen=True)
class Affine:
    """A weight and its bias, of a linear layer or a norm.

    Attributes:
        weight, bias: what the module calls them.
        stored: what the state dict calls the weight, behind the layer's prefix.
        parts: what the bias is made of there; None where there is none.
        width: numbers in the bias.
    """

    weight: str
    bias: str
    stored: str
    parts: Optional[Tuple[Part, ...]]
    width: int


@dataclasses.dataclass(frozen=True)
class Attention:
    """An attention layer, before its place is known.

    Attributes:
        extras: other tensors of it, which are stored by the module's own names.
        The others are those of FoundLayer.
    """

    kind: str
    known: Dict[str, Any]
    unknown: Tuple[str, ...]
    affines: Tuple[Affine, ...]
    extras: Tuple[str, ...] = ()
    transposed: bool = False


def present(names: Shapes, *wanted: str) -> bool:
    """Whether all of these are there."""
    return all(name in names for name in wanted)


def behind(prefix: str, names: Shapes) -> Dict[str, Shape]:
    """The names behind a prefix, without it."""
    return {n[len(prefix) :]: s for n, s in names.items() if n.startswith(prefix)}


def linear(own: str, stored: str, names: Shapes, *biases: str) -> Affine:
    """A linear layer `stored`, whose bias is there or one of `biases`, or is not."""
    bias = next((b for b in (f"{stored}.bias", *biases) if b in names), None)
    weight = f"{stored}.weight"
    parts = (bias,) if bias else None
    return Affine(f"{own}.weight", f"{own}.bias", weight, parts, names[weight][0])


def norm(own: str, stored: str, names: Shapes) -> Optional[Affine]:
    """A norm, whose tensors old files call gamma and beta; None if not there."""
    for weight, bias in (("weight", "bias"), ("gamma", "beta")):
        if len(names.get(f"{stored}.{weight}", ())) == 1:
            width = names[f"{stored}.{weight}"][0]
            parts = (f"{stored}.{bias}",) if f"{stored}.{bias}" in names else None
            return Affine(
                f"{own}.weight", f"{own}.bias", f"{stored}.{weight}", parts, width
            )
    return None


def has_bias(affines: Sequence[Affine]) -> bool:
    """Whether any has a bias: then all have, if need be of zeros."""
    return any(affine.parts for affine in affines)


def tensors_of(
    prefix: str, affines: Sequence[Affine], extras: Sequence[str] = ()
) -> Dict[str, Tuple[Part, ...]]:
    """FoundLayer.tensors of these."""
    made: Dict[str, Tuple[Part, ...]] = {name: (prefix + name,) for name in extras}
    biased = has_bias(affines)
    for affine in affines:
        made[affine.weight] = (prefix + affine.stored,)
        if biased:
            parts: Tuple[Part, ...] = affine.parts or (affine.width,)
            made[affine.bias] = tuple(
                prefix + part if isinstance(part, str) else part for part in parts
            )
    return made
