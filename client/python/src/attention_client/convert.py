# SPDX-License-Identifier: Apache-2.0
"""attention-convert: module files out of a checkpoint.

What a state dict does not tell (the number of heads, above all) has to be said:
nothing is guessed.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import os
import pathlib
import re
import sys
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from . import _checkpoint, _convert_options, _discover, _modules, _nearest
from . import _safetensors
from ._checkpoint import CheckpointError, StateDict, bare, fail
from ._discover import Findings
from ._layers import FoundLayer, Refused, Said
from ._module_tensors import module_tensors, with_dtype

# How many layers a line names.
_MOST_NAMED = 8


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong usage."""
    options = _convert_options.parse(arguments)
    try:
        said = Said(options.output, options.ignore)
        look_into = functools.partial(_look_into, said)
        weights, found = _checkpoint.choose(options.model, options.key, look_into)
        _check_names(said, weights)
        if options.list:
            _print_layers(found)
        else:
            _convert(options, weights, _chosen(options, found))
            _print_refused(options, found.refused)
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"attention-convert: {named}", file=sys.stderr)
        return 1
    except CheckpointError as error:
        print(f"attention-convert: {error}", file=sys.stderr)
        return 1
    return 0


def _look_into(said: Said, weights: StateDict) -> Optional[Findings]:
    return _discover.find({name: entry.shape for name, entry in weights.items()}, said)


def _check_names(said: Said, weights: StateDict) -> None:
    """Fails where options name what is nowhere behind a prefix."""
    named = [("--ignore", name) for name in said.ignored]
    if said.output:
        named.append(("--output", said.output))
    for option, name in named:
        if not any(f".{name}." in f".{stored}." for stored in weights):
            fail(f"{option} {name}: no tensor is called so in any layer")


def _convert(
    options: argparse.Namespace, weights: StateDict, chosen: List[FoundLayer]
) -> None:
    if options.single and len(chosen) != 1:
        prefixes = ", ".join(repr(layer.prefix) for layer in chosen)
        fail(
            f"{options.out} takes one layer; choose with --layer, or give a folder: "
            f"{prefixes}"
        )
    _convert_options.check_zeros(options, chosen)
    made: List[Tuple[pathlib.Path, FoundLayer, Dict[str, Any], StateDict]] = []
    for layer in chosen:
        config = _convert_options.configuration(options, layer)
        tensors = module_tensors(layer, weights)
        path = _path(options, layer)
        if path.exists() or any(path == other[0] for other in made):
            fail(f"{path}: exists already")
        made.append((path, layer, with_dtype(config, tensors), tensors))
    for path, layer, config, tensors in made:
        if options.folder:
            _write_folder(path, config, tensors)
        else:
            metadata = {"config": _modules.to_json(config)}
            _write(path, _safetensors.file_pieces(tensors, metadata))
        print(f"{path}: {layer.kind} {layer.prefix!r}, {len(tensors)} tensors")
        _print_notes(layer, layer.zeros())


def _path(options: argparse.Namespace, layer: FoundLayer) -> pathlib.Path:
    """Where a module goes."""
    if options.single:
        return pathlib.Path(options.out)
    file = re.sub(r"(\.safetensors\.index)?\.\w+$", "", os.path.basename(options.model))
    name = module_name(layer.prefix or file)
    ending = "" if options.folder else ".safetensors"
    return pathlib.Path(options.out, name + ending)


def _chosen(options: argparse.Namespace, found: Findings) -> List[FoundLayer]:
    """What --layer says; else every attention, and PyTorch's encoder layers whole."""
    if options.layer:
        return [_named(wanted, found) for wanted in options.layer]
    inside = {layer.prefix: layer.inside for layer in found.layers}
    chosen: Dict[str, FoundLayer] = {}
    for layer in found.layers:
        above = layer.inside
        while above is not None and above not in chosen:
            above = inside[above]
        if above is None and not layer.foreign:
            chosen[layer.prefix] = layer
    if not chosen:
        first = found.refused[0]
        fail(f"{options.model}: {first.prefix!r}: {first}")
    return list(chosen.values())


def _named(wanted: str, found: Findings) -> FoundLayer:
    """The layer that --layer names, with or without what wrappers put before it."""
    selectable = {layer.prefix: layer for layer in [*found.stacks, *found.layers]}
    for prefix in (wanted, f"{wanted}."):
        if prefix in selectable:
            return selectable[prefix]
    alike = [
        layer for layer in selectable.values() if bare(layer.prefix) == bare(wanted)
    ]
    if len(alike) == 1:
        return alike[0]
    for refused in [*found.refused, *found.no_stacks]:
        same = bare(wanted) == bare(refused.prefix)
        if same or f"{bare(wanted)}.".startswith(f"{bare(refused.prefix)}."):
            fail(f"--layer {wanted}: {refused}")
    near = [layer.prefix for layer in alike] or _nearest.nearest(wanted, selectable, 3)
    named = ", ".join(map(repr, near or list(selectable)[:_MOST_NAMED]))
    fail(f"--layer {wanted}: expected one of {named}; --list names all")


def module_name(prefix: str) -> str:
    """A name the service accepts, of a prefix."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", prefix.rstrip("."))
    return re.sub(r"^[^A-Za-z0-9]+", "", name)[:128] or "module"


def _write_folder(path: pathlib.Path, config: Any, tensors: StateDict) -> None:
    path.mkdir(parents=True)
    _write(path / "model.safetensors", _safetensors.file_pieces(tensors))
    text = json.dumps({"config": config}, indent=2) + "\n"
    _write(path / "config.json", iter([text.encode()]))


def _write(path: pathlib.Path, parts: Iterator[bytes]) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _print_layers(found: Findings) -> None:
    for layer in [*found.layers, *found.stacks]:
        part = f" (part of {layer.inside!r})" if layer.inside is not None else ""
        print(f"{layer.prefix!r}: {layer.kind}{part}")
        print(f"  known: {json.dumps(layer.known)}")
        unknown = list(map(_convert_options.option_text, layer.unknown))
        unsaid = layer.unsaid_zeros()
        missing = dict.fromkeys(map(_convert_options.short, unsaid))
        unknown += [f"--zero-bias {own}" for own in missing]
        print(f"  not known: {', '.join(unknown)}")
        _print_notes(layer, [own for own in layer.zeros() if own not in unsaid])
    for refused in [*found.refused, *found.no_stacks]:
        print(f"{refused.prefix!r}: {refused}")


def _print_notes(layer: FoundLayer, zeros: Sequence[str]) -> None:
    """What a layer has that is not in the file, and the other way round."""
    for own in zeros:
        part = "" if len(layer.tensors[own]) == 1 else "the key's part is "
        print(f"  {own}: {part}not there, zero")
    if layer.left_out:
        more = len(layer.left_out) - 4
        named = ", ".join(layer.left_out[:4])
        print(f"  left out: {named}{f' and {more} more' if more > 0 else ''}")


def _print_refused(options: argparse.Namespace, refused: Sequence[Refused]) -> None:
    """What default conversion left, a line for each reason."""
    if options.layer:
        return
    reasons = collections.Counter(one.why.partition(" (")[0] for one in refused)
    for why, count in reasons.items():
        print(f"attention-convert: {count} left, see --list: {why}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
