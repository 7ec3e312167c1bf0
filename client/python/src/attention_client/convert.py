# SPDX-License-Identifier: Apache-2.0
"""attention-convert: module files out of a PyTorch checkpoint.

What a state dict does not tell (the number of heads, above all) has to be said:
nothing is guessed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import sys
from typing import Any, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence

from . import _discover, _modules, _safetensors
from ._discover import FoundLayer

_EXAMPLES = """examples:
  attention-convert model.pt --list
  attention-convert model.pt attn.safetensors --layer encoder.layers.0.self_attn. \\
      --num-heads 8 --batch-first --no-add-zero-attn --dropout 0
  attention-convert model.pt modules/ --num-heads 8 --torch-defaults
"""

# Fields of configurations by the option that says them.
_OPTIONS = {
    "num_heads": "--num-heads",
    "nhead": "--num-heads",
    "batch_first": "--batch-first",
    "add_zero_attn": "--add-zero-attn",
    "norm_first": "--norm-first",
    "activation": "--activation",
    "layer_norm_eps": "--layer-norm-eps",
    "norm_eps": "--norm-eps",
    "dropout": "--dropout",
}
_NEGATABLE = ("batch_first", "add_zero_attn", "norm_first")
# What PyTorch's and d2l's constructors take where nothing is said; d2l has no
# default for dropout.
_DEFAULTS: Dict[str, Any] = {
    "batch_first": False,
    "add_zero_attn": False,
    "norm_first": False,
    "activation": "relu",
    "layer_norm_eps": 1e-5,
    "norm_eps": 1e-5,
}
_DROPOUT_DEFAULTS = {
    _discover.MULTI_HEAD: 0.0,
    _discover.ENCODER_LAYER: 0.1,
    _discover.ENCODER: 0.1,
}
_KEYS = ("state_dict", "model_state_dict", "model")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.list) == bool(options.out):
        parser.error("give either OUT or --list")
    try:
        weights = load_state_dict(options.model, options.key)
        shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        layers = _discover.find_layers(shapes)
        stacks = _discover.find_stacks(layers, shapes)
        if not layers:
            _fail(f"{options.model}: holds no attention layer that is known")
        if options.list:
            _print_layers([*layers, *stacks])
        else:
            _convert(options, weights, _chosen(options, layers, stacks))
    except (OSError, _Failure) as error:
        print(f"attention-convert: {error}", file=sys.stderr)
        return 1
    return 0


class _Failure(Exception):
    pass


def _fail(text: str) -> NoReturn:
    raise _Failure(text)


def load_state_dict(path: str, key: Optional[str] = None) -> Dict[str, Any]:
    """The tensors of a checkpoint, by name.

    Nothing in the file is executed: torch.load with weights_only=True. `key` names
    the entry that holds the state dict, where it is not the file's top level and
    not the only one.
    """
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).split("\n")[0]
        _fail(
            f"{path}: not a checkpoint of tensors alone ({reason}). Save "
            "model.state_dict(), not the model."
        )
    if key is not None:
        if not isinstance(content, Mapping) or key not in content:
            _fail(f"{path}: expected an entry {key!r}")
        return _tensors_of(content[key])
    if weights := _tensors_of(content):
        return weights
    entries = content.items() if isinstance(content, Mapping) else ()
    nested = {name: found for name, entry in entries if (found := _tensors_of(entry))}
    for name in _KEYS:
        if name in nested:
            return nested[name]
    if len(nested) != 1:
        _fail(f"{path}: expected a state dict; say which with --key: {list(nested)}")
    return next(iter(nested.values()))


def _tensors_of(content: Any) -> Dict[str, Any]:
    import torch

    if not isinstance(content, Mapping):
        return {}
    return {str(n): w for n, w in content.items() if isinstance(w, torch.Tensor)}


def _convert(
    options: argparse.Namespace, weights: Mapping[str, Any], chosen: List[FoundLayer]
) -> None:
    out = pathlib.Path(options.out)
    single = out.suffix == ".safetensors"
    if single and len(chosen) != 1:
        prefixes = ", ".join(repr(layer.prefix) for layer in chosen)
        _fail(
            f"{out} takes one layer; choose with --layer, or give a folder: {prefixes}"
        )
    configs = [_config(options, layer) for layer in chosen]
    stem = pathlib.Path(options.model).stem
    for layer, config in zip(chosen, configs):
        path = out if single else out / module_name(layer.prefix or stem)
        tensors = _own_tensors(layer, weights)
        if options.folder and not single:
            written = _write_folder(path, config, tensors)
        else:
            path = path if single else path.with_name(path.name + ".safetensors")
            metadata = {"config": _modules.to_json(config)}
            written = _write(path, _safetensors.pieces(tensors, metadata))
        print(f"{written}: {layer.kind} {layer.prefix!r}, {len(tensors)} tensors")


def _chosen(
    options: argparse.Namespace, layers: List[FoundLayer], stacks: List[FoundLayer]
) -> List[FoundLayer]:
    """What --layer says; else every layer that is not a part of another."""
    if not options.layer:
        return [layer for layer in layers if layer.inside is None]
    selectable = {layer.prefix.rstrip("."): layer for layer in [*stacks, *layers]}
    chosen = []
    for prefix in options.layer:
        if prefix.rstrip(".") not in selectable:
            _fail(
                f"--layer {prefix}: expected one of {', '.join(map(repr, selectable))}"
            )
        chosen.append(selectable[prefix.rstrip(".")])
    return chosen


def _config(options: argparse.Namespace, layer: FoundLayer) -> Dict[str, Any]:
    """The whole configuration; fails naming every field that is not known."""
    said: Dict[str, Any] = {}
    missing = []
    for field in layer.unknown:
        value = getattr(options, "num_heads" if field == "nhead" else field)
        if value is None and options.torch_defaults:
            value = _default(layer.kind, field)
        if value is None:
            missing.append(f"{field} ({_option_text(field)})")
        said[field] = (
            f"ACTIVATION_{value.upper()}" if field == "activation" and value else value
        )
    if missing:
        _fail(
            f"layer {layer.prefix!r}, {layer.kind}: its weights do not tell "
            f"{', '.join(missing)}: say so"
        )
    if layer.kind != _discover.ENCODER:
        return {layer.kind: {**layer.known, **said}}
    known = dict(layer.known)
    if "norm_eps" in said:
        known["norm_eps"] = said.pop("norm_eps")
    known["layer"] = {**known["layer"], **said}
    return {layer.kind: known}


def _default(kind: str, field: str) -> Any:
    return _DROPOUT_DEFAULTS.get(kind) if field == "dropout" else _DEFAULTS.get(field)


def _option_text(field: str) -> str:
    option = _OPTIONS[field]
    return f"{option} or --no-{option[2:]}" if field in _NEGATABLE else option


def _own_tensors(layer: FoundLayer, weights: Mapping[str, Any]) -> Dict[str, Any]:
    """The layer's weights by the service's names."""
    tensors = {own: weights[stored] for own, stored in layer.names.items()}
    like = next(iter(tensors.values()))
    for own, shape in layer.zeros.items():
        tensors[own] = like.new_zeros(shape)
    return tensors


def module_name(prefix: str) -> str:
    """A name the service accepts, of a prefix."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", prefix.rstrip("."))
    return re.sub(r"^[^A-Za-z0-9]+", "", name)[:128] or "module"


def _write_folder(path: pathlib.Path, config: Any, tensors: Any) -> pathlib.Path:
    path.mkdir(parents=True, exist_ok=True)
    _write(path / "model.safetensors", _safetensors.pieces(tensors))
    text = json.dumps({"config": config}, indent=2) + "\n"
    _write(path / "config.json", iter([text.encode()]))
    return path


def _write(path: pathlib.Path, parts: Iterator[bytes]) -> pathlib.Path:
    """Write a file whole or not at all; one that is there is kept."""
    if path.exists():
        _fail(f"{path}: exists already")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _print_layers(layers: List[FoundLayer]) -> None:
    for layer in layers:
        part = f" (part of {layer.inside!r})" if layer.inside is not None else ""
        print(f"{layer.prefix!r}: {layer.kind}{part}")
        print(f"  known: {json.dumps(layer.known)}")
        print(f"  not known: {', '.join(map(_option_text, layer.unknown))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="attention-convert",
        description="Make module files for attention-server out of a checkpoint.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a state dict, .pt or .pth")
    add(
        "out",
        metavar="OUT",
        nargs="?",
        help="NAME.safetensors for one layer, or a folder for all",
    )
    add("--list", action="store_true", help="say what the checkpoint holds")
    add(
        "--layer",
        action="append",
        metavar="PREFIX",
        help="convert this layer; repeatable (default: all, whole encoder layers)",
    )
    add("--key", help="entry of the checkpoint that holds the state dict")
    add("--folder", action="store_true", help="write modules in their folder form")
    _add_configuration(add)
    return parser


def _add_configuration(add: Any) -> None:
    """Options for what a state dict does not tell."""
    add("--num-heads", type=int, metavar="H")
    add("--dropout", type=float, metavar="P")
    add("--activation", choices=("relu", "gelu"))
    add("--layer-norm-eps", type=float, metavar="EPS")
    add("--norm-eps", type=float, metavar="EPS", help="of an encoder's final norm")
    for field in _NEGATABLE:
        add(_OPTIONS[field], action=argparse.BooleanOptionalAction)
    add(
        "--torch-defaults",
        action="store_true",
        help="what is not said, but for the heads, is as PyTorch's constructors have it",
    )


if __name__ == "__main__":
    sys.exit(main())
