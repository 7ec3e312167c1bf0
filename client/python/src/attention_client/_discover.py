# SPDX-License-Identifier: Apache-2.0
"""Finds attention layers in a model's state dict, by names and shapes."""

from __future__ import annotations

import bisect
import dataclasses
from typing import List, Mapping, Optional, Sequence, Set, Union

from . import _unserved
from ._attention_layers import read_attention
from ._encoder_layers import find_stacks, read_d2l_block, read_encoder_layer
from ._layers import Attention, FoundLayer, Refused, Said, Shapes, behind, tensors_of


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a state dict holds.

    Attributes:
        layers: every attention and encoder layer, those inside others included.
        stacks: encoders of such layers.
        refused: what looks like one, but for those inside others.
        no_stacks: what holds such layers and is no stack of them.
    """

    layers: List[FoundLayer]
    stacks: List[FoundLayer]
    refused: List[Refused]
    no_stacks: List[Refused]


def find(shapes: Shapes, said: Said = Said()) -> Optional[Findings]:
    """What a state dict holds, by prefix; None where that is no attention at all."""
    found: List[FoundLayer] = []
    refused: List[Refused] = []
    order = sorted(shapes)
    shared = _unserved.shared_reasons(shapes)
    for prefix in sorted(_prefixes(shapes)):
        # Names behind a prefix are neighbours.
        first = bisect.bisect_left(order, prefix)
        last = bisect.bisect_left(order, prefix + "\U0010ffff")
        names = {name[len(prefix) :]: shapes[name] for name in order[first:last]}
        layer = _read(prefix, names, said)
        if isinstance(layer, FoundLayer):
            why = _reason(layer, shapes, names, shared)
            layer = Refused(prefix, why) if why else layer
        if isinstance(layer, Refused):
            refused.append(layer)
        elif layer is not None:
            found.append(layer)
    layers = _placed([layer for layer in found if not _is_part(layer, refused)])
    refused = [r for r in refused if not _is_part(r, refused)]
    if not layers and not refused:
        return None
    stacks = find_stacks(layers, shapes, said)
    return Findings(
        layers,
        [stack for stack in stacks if isinstance(stack, FoundLayer)],
        refused,
        [stack for stack in stacks if isinstance(stack, Refused)],
    )


def _prefixes(shapes: Shapes) -> Set[str]:
    """Every "a." of names "a.b.c", and "": a layer has modules in it."""
    prefixes = {""}
    for name in shapes:
        parts = name.split(".")[:-2]
        prefixes.update(
            ".".join(parts[:count]) + "." for count in range(1, len(parts) + 1)
        )
    return prefixes


def _read(prefix: str, names: Shapes, said: Said) -> Union[FoundLayer, Refused, None]:
    kept = said.kept(names)
    layer = read_encoder_layer(prefix, kept, said.output)
    layer = layer or read_d2l_block(prefix, kept)
    if layer is not None:
        ignored = tuple(name for name in names if name not in kept)
        return dataclasses.replace(layer, left_out=ignored)
    attention = read_attention(kept, said.output)
    if isinstance(attention, Refused):
        return dataclasses.replace(attention, prefix=prefix)
    if isinstance(attention, Attention):
        return _of_attention(prefix, attention, names)
    why = attention or _unserved.unread(names)
    return Refused(prefix, why) if why else None


def _of_attention(prefix: str, attention: Attention, names: Shapes) -> FoundLayer:
    layer = FoundLayer(
        prefix,
        attention.kind,
        attention.known,
        attention.unknown,
        tensors_of(prefix, attention.affines, attention.extras),
        attention=prefix,
        transposed=attention.transposed,
    )
    own = set(layer.stored())
    left_out = tuple(name for name in names if prefix + name not in own)
    return dataclasses.replace(layer, left_out=left_out)


def _reason(
    layer: FoundLayer, shapes: Shapes, names: Shapes, shared: Mapping[str, str]
) -> Optional[str]:
    """Why the attention of a layer is none of the service's, if it is not."""
    inner = behind(layer.attention[len(layer.prefix) :], names)
    for scope, why in shared.items():
        if layer.attention.startswith(scope):
            return why
    return _unserved.why_not(layer.attention, inner, shapes)


def _is_part(item: Union[FoundLayer, Refused], refused: Sequence[Refused]) -> bool:
    """Whether this lies in something refused."""
    return any(
        other.prefix and other is not item and item.prefix.startswith(other.prefix)
        for other in refused
    )


def _placed(layers: Sequence[FoundLayer]) -> List[FoundLayer]:
    """The layers, each with the nearest one it is a part of."""
    tensors = {layer.prefix: set(layer.stored()) for layer in layers}
    placed = []
    for layer in layers:
        parts = layer.prefix.split(".")[:-1]
        for count in range(len(parts) - 1, -1, -1):
            above = "".join(f"{part}." for part in parts[:count])
            if tensors.get(above, set()) > tensors[layer.prefix]:
                layer = dataclasses.replace(layer, inside=above)
                break
        placed.append(layer)
    return placed
