# SPDX-License-Identifier: Apache-2.0
"""A layer without its weights, that complains as the layer would."""

from __future__ import annotations

import copy
import functools
from typing import Any, Callable, Dict, Mapping, Tuple

import torch
from torch import nn

from ._judge import (
    REMEMBERED_CALLS,
    Described,
    Modes,
    described,
    judged_in,
    of_any_size,
    small,
)
from ._served_weight import Kind, shown

_SMALL_HEAD = 8

Config = Dict[str, Any]
Make = Callable[[Config], Any]
"""Makes the layer of a configuration, on the meta device."""


class StandIn:
    """A layer of a configuration, as PyTorch judges it without its weights.

    Shapes are checked by the layer on the meta device; dtypes by a small one on the
    CPU, which also tells what is answered in. Immutable: copies share it.

    Thread-safe: a call that two threads check at once is checked twice.

    Attributes:
        layer: what is shown of it; what PyTorch's containers read of a layer.
        make, config, kinds: what it is made of.
    """

    def __init__(self, make: Make, config: Config, kinds: Mapping[str, Kind]) -> None:
        """Stand for `make(config)`; `kinds` has dtype and device by parameter."""
        self.make, self.config, self.kinds = make, config, dict(kinds)
        with judged_in(Modes(training=True)):
            # Off the fast path, which checks less.
            self._meta = make(config).train()
            self._small = _small_layer(make, config, kinds)
            self.layer = shown(self._meta, kinds)
        remember = functools.lru_cache(REMEMBERED_CALLS)
        self._checked_shapes = remember(self._check_shapes)
        self._dtypes = remember(self._small_answer)

    @classmethod
    def of_dtype(cls, make: Make, config: Config, dtype: torch.dtype) -> StandIn:
        """One whose parameters are all of a dtype, on the CPU."""
        kind = (dtype, torch.device("cpu"))
        names = [name for name, _ in _parameters(make(config))]
        return cls(make, config, dict.fromkeys(names, kind))

    def converted(self, function: Callable[[Any], Any]) -> StandIn:
        """What a function given to torch.nn.Module._apply makes of it."""
        after: Dict[Kind, Kind] = {}
        for dtype, device in self.kinds.values():
            tensor = function(torch.empty(0, dtype=dtype, device=device))
            after[dtype, device] = (tensor.dtype, tensor.device)
        kinds = {name: after[kind] for name, kind in self.kinds.items()}
        if kinds == self.kinds:
            return self
        return StandIn(self.make, self.config, kinds)

    def check(
        self, inputs: Tuple[Any, ...], options: Dict[str, Any], modes: Modes
    ) -> Tuple[torch.dtype, ...]:
        """The dtypes of the layer's answers.

        Raises what the layer would for these arguments. `inputs` are its floating
        inputs, `options` everything else by name. What has passed once is
        remembered by its shapes: PyTorch's own code for it takes milliseconds.
        """
        given, named = _read(described, inputs, options)
        self._checked_shapes(given, named)
        return self._answer_dtypes(given, named, modes)

    def answer_dtypes(
        self, inputs: Tuple[Any, ...], options: Dict[str, Any], modes: Modes
    ) -> Tuple[torch.dtype, ...]:
        """The same, unchecked, of tensors whose sizes are not known."""
        return self._answer_dtypes(*_read(of_any_size, inputs, options), modes)

    def _answer_dtypes(
        self, given: Any, named: Any, modes: Modes
    ) -> Tuple[torch.dtype, ...]:
        inputs = tuple((small(tensor), place) for tensor, place in given)
        options = tuple((name, small(option)) for name, option in named)
        fast = torch.backends.mha.get_fastpath_enabled()
        return self._dtypes(inputs, options, modes, fast)

    def _check_shapes(self, given: Any, named: Any) -> None:
        with judged_in(Modes(training=True)):
            inputs = [tensor.on_meta() for tensor, _ in given]
            options = {
                name: option.on_meta() if isinstance(option, Described) else option
                for name, option in named
            }
            self._meta(*(inputs[place] for _, place in given), **options)

    def _small_answer(
        self, given: Any, named: Any, modes: Modes, _: bool
    ) -> Tuple[torch.dtype, ...]:
        with judged_in(modes):
            layer = copy.deepcopy(self._small).train(modes.training)
            attention = getattr(layer, "self_attn", layer)
            widths = (attention.embed_dim, attention.kdim, attention.vdim)
            query = given[0][0].shape
            batch = query[0 if attention.batch_first else 1] if len(query) == 3 else 1
            inputs = [
                tensor._replace(shape=(*tensor.shape[:-1], width)).on_cpu()
                for (tensor, _), width in zip(given, widths)
            ]
            options = {
                name: _small_option(option, batch * attention.num_heads)
                for name, option in named
            }
            answer = layer(*(inputs[place] for _, place in given), **options)
        answers = answer if isinstance(answer, tuple) else (answer,)
        return tuple(each.dtype for each in answers if each is not None)

    def __deepcopy__(self, memo: Dict[int, Any]) -> StandIn:
        return self

    def __reduce__(self) -> Any:
        return StandIn, (self.make, self.config, self.kinds)


def kinds_of(layer: nn.Module) -> Dict[str, Kind]:
    """Dtype and device of a layer's parameters, by name."""
    return {name: (p.dtype, p.device) for name, p in _parameters(layer)}


def _read(
    describe: Callable[[Any], Any], inputs: Tuple[Any, ...], options: Dict[str, Any]
) -> Tuple[Any, Any]:
    """Each input with the place it is first in, and each option with its name."""
    ids = [id(tensor) for tensor in inputs]
    given = tuple((describe(tensor), ids.index(id(tensor))) for tensor in inputs)
    return given, tuple((name, describe(option)) for name, option in options.items())


def _parameters(layer: nn.Module) -> Any:
    return layer.named_parameters(remove_duplicate=False)


def _small_layer(make: Make, config: Config, kinds: Mapping[str, Kind]) -> Any:
    """A layer of the same structure and dtypes, on the CPU."""
    config = dict(config, dropout=0.0)
    width = "embed_dim" if "embed_dim" in config else "d_model"
    heads = "num_heads" if "num_heads" in config else "nhead"
    # An odd number of them keeps PyTorch from its fast path.
    config[heads] = 2 - config[heads] % 2
    size = config[heads] * _SMALL_HEAD
    for name in ("kdim", "vdim"):
        if config.get(name, config[width]) != config[width]:
            config[name] = 1
        else:
            config.pop(name, None)
    config[width] = size
    if width == "d_model":
        config["dim_feedforward"] = size
    layer = make(config)
    for path, module in layer.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                dtype, _ = kinds[f"{path}.{name}" if path else name]
                zeros = torch.zeros(parameter.shape, dtype=dtype, device="cpu")
                module._parameters[name] = nn.Parameter(zeros)
    return layer


def _small_option(option: Any, sequences: int) -> Any:
    if not isinstance(option, Described):
        return option
    if len(option.shape) == 3:
        option = option._replace(shape=(sequences, *option.shape[1:]))
    return option.on_cpu()
