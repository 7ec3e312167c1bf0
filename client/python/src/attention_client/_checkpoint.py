# SPDX-License-Identifier: Apache-2.0
"""Reads checkpoints: the state dicts in a file, whatever lies around them.

What torch.save wrote is loaded by torch.load(weights_only=True). Tensors are read
when they are written.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Callable, Dict, List, Mapping, NoReturn, Optional
from typing import Tuple, TypeVar

from . import _file_types, _safetensors, _tensors
from ._safetensors import Entry

StateDict = Dict[str, Entry]
Holds = TypeVar("Holds")

# How deep dicts lie in one another, and how much is in all of them: a file of a few
# bytes can hold one dict at very many places.
_DEPTH = 8
_MOST_ENTRIES = 1_000_000
# How many keys a line names.
_MOST_KEYS = 12
# What wrappers of modules put into names, and no module is called.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# What else names begin with where a model is an attribute of what was saved.
_HOLDERS = ("module", "model", *_WRAPPERS)


class CheckpointError(Exception):
    """What is wrong with a checkpoint, in one line."""


def fail(text: str) -> NoReturn:
    """Raise a CheckpointError."""
    raise CheckpointError(text)


def read(path: str) -> Dict[str, StateDict]:
    """The state dicts in a file, by the keys they lie under, "model.state_dict".

    The key of a file that is one is "". Wrappers' parts of names are left out.
    """
    shard = re.search(r"-\d{5}-of-(\d{5})\.\w+$", path)
    if shard and int(shard[1]) > 1:
        fail(
            f"{path}: one of {int(shard[1])} files of a model: give the "
            ".safetensors.index.json beside it, or save the weights in one file"
        )
    readers: Dict[str, Callable[[str], Dict[str, StateDict]]] = {
        _file_types.SAFETENSORS: _read_safetensors,
        _file_types.INDEX: _read_shards,
        _file_types.TORCH: _read_torch,
    }
    found = readers[_kind(path)](path)
    return {key: _unwrapped(state_dict) for key, state_dict in found.items()}


def _kind(path: str) -> str:
    try:
        return _file_types.kind_of(path)
    except _file_types.UnknownFile as error:
        fail(f"{path}: {error}")


def choose(
    path: str,
    key: Optional[str],
    look_into: Callable[[StateDict], Optional[Holds]],
) -> Tuple[StateDict, Holds]:
    """The only state dict that holds something, and what: (state dict, what).

    Args:
        key: what the state dict lies under, or something around it.
        look_into: says what a state dict holds; None for nothing of interest.
    """
    found = read(path)
    under = _under(found, key) if key is not None else found
    if not under:
        fail(f"{path}: no state dict under {key!r}; {_keys(found, look_into)}")
    holding = [(d, held) for d in under.values() if (held := look_into(d)) is not None]
    if not holding:
        fail(f"{path}: holds no attention layer that is known")
    if len(holding) > 1:
        fail(f"{path}: say which state dict with --key; {_keys(under, look_into)}")
    return holding[0]


def _under(found: Mapping[str, StateDict], key: str) -> Dict[str, StateDict]:
    if key in found:
        return {key: found[key]}
    return {name: d for name, d in found.items() if name.startswith(f"{key}.")}


def _keys(found: Mapping[str, StateDict], look_into: Callable[[StateDict], Any]) -> str:
    """The keys that hold something; where none does, all."""
    keys = [key for key, d in found.items() if look_into(d) is not None] or list(found)
    if keys == [""]:
        return "the whole file is one"
    named = ", ".join(key or '"" (the whole file)' for key in keys[:_MOST_KEYS])
    more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
    return f"there are: {named}{more}" if keys else "there is none"


def bare(prefix: str) -> str:
    """A prefix without what wrappers and holders put before it, and without its dot."""
    parts = [part for part in prefix.split(".") if part and part not in _WRAPPERS]
    while parts and parts[0] in _HOLDERS:
        del parts[0]
    return ".".join(parts)


def _unwrapped(state_dict: StateDict) -> StateDict:
    """Names as the module has them that was wrapped: by torch.compile, by FSDP, or,
    where every name says so, by DataParallel. As they are if two become one."""
    names = {
        name: ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        for name in state_dict
    }
    if all(name.startswith("module.") for name in names.values() if "." in name):
        names = {old: re.sub(r"^module\.", "", new) for old, new in names.items()}
    if len(set(names.values())) != len(names):
        return state_dict
    return {names[old]: tensor for old, tensor in state_dict.items()}


def _read_safetensors(path: str) -> Dict[str, StateDict]:
    try:
        return {"": _safetensors.read(path)}
    except _safetensors.FormatError as error:
        fail(f"{path}: damaged, copy or download it again ({error})")


def _read_shards(path: str) -> Dict[str, StateDict]:
    """The tensors of a .safetensors.index.json, out of the files beside it."""
    with open(path, "rb") as file:
        try:
            index = json.load(file)
        except (ValueError, RecursionError) as error:
            fail(f"{path}: not the JSON of an index ({error})")
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(map(_is_plain, places.values())):
        fail(f"{path}: expected a weight_map from tensors to files beside it")
    shards = {name: _read_shard(path, name) for name in sorted(set(places.values()))}
    missing = [name for name, place in places.items() if name not in shards[place]]
    if missing:
        fail(f"{path}: {missing[0]} is not in {places[missing[0]]}")
    return {"": {name: shards[place][name] for name, place in places.items()}}


def _is_plain(name: object) -> bool:
    """Whether this names a file of the same folder, whatever the system."""
    return isinstance(name, str) and re.fullmatch(r"[\w.-]*\w", name) is not None


def _read_shard(path: str, name: str) -> StateDict:
    shard = os.path.join(os.path.dirname(path), name)
    if not os.path.exists(shard):
        fail(f"{path}: {name} is not beside it")
    if _kind(shard) != _file_types.SAFETENSORS:
        fail(f"{shard}: expected a .safetensors file")
    return _read_safetensors(shard)[""]


def _read_torch(path: str) -> Dict[str, StateDict]:
    try:
        import torch
    except ImportError:
        fail(
            "attention-convert needs PyTorch to read .pt files: "
            'pip install "attention-client[torch]"'
        )
    if not _is_safe(torch.__version__):
        fail(
            f"PyTorch {torch.__version__} may execute what is in {path} even with "
            "weights_only=True (CVE-2025-32434): install PyTorch 2.6 or later, or "
            "save the weights as .safetensors"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # What a damaged pickle raises is not specified.
        fail(f"{path}: {_refusal(str(error))}")
    return _collect(path, content)


def _is_safe(version: str) -> bool:
    """Whether torch.load(weights_only=True) of this PyTorch executes nothing."""
    number = re.match(r"(\d+)\.(\d+)", version)
    return number is not None and (int(number[1]), int(number[2])) >= (2, 6)


def _refusal(reason: str) -> str:
    """Why torch.load refused, in a line, and what to do."""
    named = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", reason)
    if named is None and "Weights only" not in reason:
        return "a checkpoint that is cut off or damaged: copy or download it again"
    culprit = named[1] if named else "more than tensors"
    return (
        f"holds {culprit}, which would run code of its own. Save model.state_dict(), "
        "not the model; or, if you trust the file, its weights alone: torch.save("
        'torch.load(path, weights_only=False)["state_dict"], "weights.pt")'
    )


def _collect(path: str, content: Any) -> Dict[str, StateDict]:
    """Every dict with tensors under dicts with string keys: an optimizer's state has
    numbers, and is none."""
    import torch

    found: Dict[str, StateDict] = {}
    entries = 0
    # The keys of what is to be looked into, the dicts it lies in, and itself.
    waiting: List[Tuple[Tuple[str, ...], Tuple[int, ...], Any]] = [((), (), content)]
    while waiting:
        keys, around, held = waiting.pop()
        if not isinstance(held, Mapping) or len(keys) > _DEPTH or id(held) in around:
            continue
        entries += len(held)
        if entries > _MOST_ENTRIES:
            fail(f"{path}: more than {_MOST_ENTRIES} entries in its dicts")
        named = [(name, value) for name, value in held.items() if isinstance(name, str)]
        tensors = {n: _torch_entry(v) for n, v in named if isinstance(v, torch.Tensor)}
        key = ".".join(keys)
        if tensors and key in found:
            fail(f"{path}: holds two state dicts under {key}: save one of them alone")
        if tensors:
            found[key] = tensors
        inside = (*around, id(held))
        waiting.extend(((*keys, name), inside, value) for name, value in named[::-1])
    return found


def _torch_entry(tensor: Any) -> Entry:
    import torch

    shape = tuple(tensor.shape)
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return Entry("a tensor that is sparse, quantized or empty", shape, bytes)
    try:
        return _safetensors.entry(tensor)
    except TypeError:
        return Entry(_tensors.element_name(tensor), shape, bytes)
