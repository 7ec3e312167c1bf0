# SPDX-License-Identifier: Apache-2.0
"""The options of attention-convert, and what they say about a layer."""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
from typing import Any, Dict, List, NoReturn, Optional, Sequence

from . import _layers, _nearest
from ._checkpoint import fail
from ._layers import FoundLayer

_EXAMPLES = """examples:
  attention-convert model.pt --list
  attention-convert model.safetensors attn.safetensors \\
      --layer encoder.layers.0.self_attn --num-heads 8 --batch-first \\
      --no-add-zero-attn --dropout 0
  attention-convert model.safetensors.index.json modules/ --num-heads 8 --torch-defaults
  attention-convert last.ckpt modules/ --key state_dict --num-heads 8 --torch-defaults
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
_NEGATABLE = {
    "batch_first": "requests are (N, L, E), not (L, N, E)",
    "add_zero_attn": "a key and value of zeros is appended",
    "norm_first": "norms come before attention and feed-forward, not after",
}
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
    _layers.MULTI_HEAD: 0.0,
    _layers.ENCODER_LAYER: 0.1,
    _layers.ENCODER: 0.1,
}
# What every family decides for itself.
_FAMILYS_OWN = ("norm_first", "activation", "layer_norm_eps", "norm_eps")


class _Parser(argparse.ArgumentParser):
    """Offers the nearest option for one that is not known."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        for argument in sys.argv[1:] if args is None else args:
            option = argument.partition("=")[0]
            if argument == "--":
                break
            if re.match(r"--?[A-Za-z]", option) and not self._knows(option):
                self.error(f"unrecognized option {option}{self._meant(option)}")
        return super().parse_args(args, namespace)

    def _knows(self, option: str) -> bool:
        """Whether argparse takes it: an option, or what one alone begins with."""
        return any(
            known == option or (option[:2] == "--" and known.startswith(option))
            for known in self._option_string_actions
        )

    def _meant(self, option: str) -> str:
        known = self._option_string_actions
        nearest = _nearest.nearest(f"--{option.lstrip('-')}", known)
        return f": did you mean {nearest[0]}?" if nearest else ""


def parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    """The options; ends the program where they are wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.list) == bool(options.out):
        parser.error("give either OUT or --list")
    options.single = bool(options.out) and options.out.endswith(".safetensors")
    if options.single and options.folder:
        parser.error(f"--folder needs a folder as OUT, not {options.out}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="attention-convert",
        description="Make module files for attention-server out of a checkpoint. "
        "What it does not tell has to be said; what torch.save wrote is loaded by "
        "torch.load(weights_only=True) of PyTorch 2.6 or later.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"%(prog)s {_version()}")
    add(
        "model",
        metavar="MODEL",
        help="what torch.save wrote (.pt, .pth, .ckpt, .bin; needs PyTorch), "
        "a .safetensors file, or the .safetensors.index.json of several",
    )
    add(
        "out",
        metavar="OUT",
        nargs="?",
        help="NAME.safetensors for one layer, or a folder for all; "
        "files that are there are kept",
    )
    add("--list", action="store_true", help="say what the checkpoint holds")
    add(
        "--layer",
        action="append",
        metavar="PREFIX",
        help="convert this layer, with or without a leading module. or model.; "
        "repeatable (default: every attention, and PyTorch's encoder layers whole)",
    )
    add("--folder", action="store_true", help="write modules in their folder form")
    _add_names(add)
    _add_configuration(add)
    return parser


def _version() -> str:
    return importlib.metadata.version("attention-client")


def _add_names(add: Any) -> None:
    """Options for what names do not tell."""
    add(
        "--key",
        metavar="KEY",
        help="what the state dict lies under in a checkpoint with several, "
        "such as model.state_dict",
    )
    add(
        "--zero-bias",
        action="append",
        default=[],
        metavar="NAME",
        help="a bias that is not in the checkpoint is zero: its name, or how it ends; "
        "repeatable",
    )
    add(
        "--output",
        metavar="NAME",
        help="what attentions call the linear layer of their output, where its name "
        "does not tell, such as fc",
    )
    add(
        "--no-output",
        dest="output",
        action="store_const",
        const="",
        help="attentions of separate projections have no linear layer of their output",
    )
    add(
        "--ignore",
        action="append",
        default=[],
        metavar="NAME",
        help="behind a layer's prefix, a tensor that does nothing in it, or what the "
        "names of several begin with; repeatable",
    )


def _add_configuration(add: Any) -> None:
    """Options for what a state dict does not tell."""
    add("--num-heads", type=_count, metavar="H", help="heads of every layer")
    add("--dropout", type=_probability, metavar="P", help="for requests that train")
    add("--activation", choices=("relu", "gelu"), help="gelu is the one by erf")
    add("--layer-norm-eps", type=float, metavar="EPS", help="of encoder layers' norms")
    add("--norm-eps", type=float, metavar="EPS", help="of an encoder's final norm")
    for field, text in _NEGATABLE.items():
        add(_OPTIONS[field], action=argparse.BooleanOptionalAction, help=text)
    add(
        "--torch-defaults",
        action="store_true",
        help="what is not said, but for the heads, is as PyTorch's constructors have "
        "it; in encoder layers of other families, dropout and the layout alone",
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return value


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 to 1")
    return value


def configuration(options: argparse.Namespace, layer: FoundLayer) -> Dict[str, Any]:
    """The whole configuration; fails naming every field that is not known."""
    said: Dict[str, Any] = {}
    missing = []
    for field in layer.unknown:
        value = getattr(options, "num_heads" if field == "nhead" else field)
        if value is None and options.torch_defaults:
            value = _default(layer, field)
        if value is None:
            missing.append(f"{field} ({option_text(field)})")
        said[field] = (
            f"ACTIVATION_{value.upper()}" if field == "activation" and value else value
        )
    if missing:
        _fail_of_missing(layer, missing)
    _check_heads(layer, options.num_heads)
    if layer.kind != _layers.ENCODER:
        return {layer.kind: {**layer.known, **said}}
    known = dict(layer.known)
    if "norm_eps" in said:
        known["norm_eps"] = said.pop("norm_eps")
    known["layer"] = {**known["layer"], **said}
    return {layer.kind: known}


def check_zeros(options: argparse.Namespace, layers: Sequence[FoundLayer]) -> None:
    """Fails where a bias is not there and nobody says that it is zero."""
    used = set()
    for layer in layers:
        unsaid = layer.unsaid_zeros()
        for own in layer.zeros():
            said = [name for name in options.zero_bias if _is_called(layer, own, name)]
            used.update(said)
            if own in unsaid and not said:
                fail(
                    f"layer {layer.prefix!r}: {own} is not there while other biases "
                    f"are: say --zero-bias {short(own)} if it is zero"
                )
    for name in options.zero_bias:
        if name not in used:
            fail(f"--zero-bias {name}: no bias of this name is missing")


def short(own: str) -> str:
    """A tensor's name in its layer, of one in a stack."""
    return re.sub(r"^layers\.\d+\.", "", own)


def _is_called(layer: FoundLayer, own: str, name: str) -> bool:
    """Whether a bias has this name, in the module or the checkpoint, or ends so."""
    stored = layer.stored_weight(own)
    stored = re.sub("weight$", "bias", re.sub("gamma$", "beta", stored))
    return any(f".{full}".endswith(f".{name}") for full in (own, stored))


def _fail_of_missing(layer: FoundLayer, missing: List[str]) -> NoReturn:
    instead = (
        f", or convert {layer.attention!r} alone by --layer" if layer.foreign else ""
    )
    fail(
        f"layer {layer.prefix!r}, {layer.kind}: its weights do not tell "
        f"{', '.join(missing)}: say so{instead}"
    )


def _check_heads(layer: FoundLayer, num_heads: int) -> None:
    fields = layer.known.get("layer", layer.known)
    widths = ("embed_dim", "d_model", "num_hiddens")
    width = next(fields[name] for name in widths if name in fields)
    if width % num_heads:
        fail(
            f"layer {layer.prefix!r}: --num-heads {num_heads} does not divide its "
            f"width, {width}"
        )


def _default(layer: FoundLayer, field: str) -> Any:
    if layer.foreign and field in _FAMILYS_OWN:
        return None
    if field == "dropout":
        return _DROPOUT_DEFAULTS.get(layer.kind)
    return _DEFAULTS.get(field)


def option_text(field: str) -> str:
    """The options that say a field."""
    option = _OPTIONS[field]
    return f"{option} or --no-{option[2:]}" if field in _NEGATABLE else option
