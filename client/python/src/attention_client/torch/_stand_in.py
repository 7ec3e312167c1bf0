# SPDX-License-Identifier: Apache-2.0
"""A layer without its weights, that complains as the layer would."""

from __future__ import annotations

import collections
from typing import Any, Dict, Tuple

import torch
from torch import nn

_REMEMBERED_CALLS = 256
# As PyTorch's own message names them.
_DTYPE_NAMES = {
    torch.float32: "Float",
    torch.float64: "Double",
    torch.float16: "Half",
    torch.bfloat16: "BFloat16",
}


class ServedWeight(torch.Tensor):
    """Stands for a parameter that is on the server; has its shape and dtype.

    Being a subclass it makes torch.overrides.has_torch_function true, which keeps
    PyTorch's containers from their fast path: that would compute with it.
    """


class StandIn:
    """A layer on the meta device: no storage, all of PyTorch's checks.

    Its attributes are what PyTorch's containers read of a layer. Copies share it,
    as nothing of it changes.

    Thread-safe: a call that two threads check at once is checked twice.
    """

    def __init__(self, layer: nn.Module) -> None:
        """Take over a layer on the meta device."""
        for module in layer.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    weight = parameter.detach()
                    module._parameters[name] = torch.Tensor._make_subclass(
                        ServedWeight, weight
                    )
        self.layer = layer.train()
        self.dtype = next(layer.parameters(), torch.empty(0)).dtype
        self._passed: collections.OrderedDict[Any, None] = collections.OrderedDict()

    def check(self, inputs: Tuple[Any, ...], options: Dict[str, Any]) -> None:
        """Raise what the layer would for these arguments.

        `inputs` are its floating inputs, `options` everything else by name. What has
        passed once is remembered by its shapes: PyTorch's own code for it takes
        milliseconds.
        """
        if any(tensor.is_nested for tensor in inputs):
            raise AssertionError(
                "a layer on a server does not take nested tensors: pass a padded "
                "batch and a mask"
            )
        signature = _signature(inputs, options)
        if signature in self._passed:
            return
        with torch.no_grad():
            self.layer(
                *_without_storage(inputs, self.dtype),
                **{
                    name: (
                        _meta(option, option.dtype)
                        if torch.is_tensor(option)
                        else option
                    )
                    for name, option in options.items()
                },
            )
        # Meta kernels do not compare the dtypes of a linear layer.
        for tensor in inputs:
            if tensor.dtype != self.dtype:
                raise RuntimeError(
                    "mat1 and mat2 must have the same dtype, but got "
                    f"{_DTYPE_NAMES.get(tensor.dtype, tensor.dtype)} and "
                    f"{_DTYPE_NAMES.get(self.dtype, self.dtype)}"
                )
        self._passed[signature] = None
        if len(self._passed) > _REMEMBERED_CALLS:
            self._passed.popitem(last=False)

    def __deepcopy__(self, memo: Dict[int, Any]) -> StandIn:
        return self


def _meta(tensor: Any, dtype: Any) -> Any:
    return torch.empty(tensor.shape, dtype=dtype, device="meta")


def _without_storage(inputs: Tuple[Any, ...], dtype: Any) -> Any:
    """The inputs' shapes; inputs that are one object stay one object."""
    by_id = {id(tensor): _meta(tensor, dtype) for tensor in inputs}
    return [by_id[id(tensor)] for tensor in inputs]


def _signature(inputs: Tuple[Any, ...], options: Dict[str, Any]) -> Any:
    ids = [id(tensor) for tensor in inputs]
    return (
        tuple((_key(tensor), ids.index(id(tensor))) for tensor in inputs),
        tuple((name, _key(option)) for name, option in options.items()),
    )


def _key(value: Any) -> Any:
    return (value.shape, value.dtype) if torch.is_tensor(value) else value
