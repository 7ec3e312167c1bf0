# SPDX-License-Identifier: Apache-2.0
"""What a layer on a server shows of its weights and parts."""

from __future__ import annotations

import copy
from typing import Any, Dict, Mapping, Tuple

import torch
from torch import nn

Kind = Tuple[torch.dtype, torch.device]
"""Where a parameter would be if it were here, and in what."""


class ServedWeight(torch.Tensor):
    """Stands for a parameter that is on the server.

    Has its shape, dtype and device, but no values: whatever needs them raises
    RuntimeError.

    Being a subclass it makes torch.overrides.has_torch_function true, which keeps
    PyTorch's containers from their fast path: that would compute with it.
    """

    _name: str

    @staticmethod
    def of(name: str, shape: Any, kind: Kind) -> ServedWeight:
        """The weight of a name."""
        dtype, device = kind
        weight: Any = torch.Tensor._make_wrapper_subclass(
            ServedWeight, shape, dtype=dtype, device=device
        )
        weight._name = name
        return weight  # type: ignore[no-any-return]

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        try:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        except (RuntimeError, TypeError):
            raise _no_values(args) from None

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise _no_values(args)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return (
            f"ServedWeight({self._name!r}, shape={tuple(self.shape)}, "
            f"dtype={self.dtype})"
        )

    def __deepcopy__(self, memo: Dict[int, Any]) -> ServedWeight:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        kind = (self.dtype, self.device)
        return ServedWeight.of, (self._name, tuple(self.shape), kind)


def shown(layer: nn.Module, kinds: Mapping[str, Kind]) -> Any:
    """The layer on the meta device, as it is shown: weights and parts of no use.

    Its attributes are what PyTorch's containers read of a layer.
    """
    layer = copy.deepcopy(layer)
    for path, module in layer.named_modules():
        if path:
            refuse: Any = _Refusal(path)
            module.forward = module.register_forward_hook = refuse
            module.register_forward_pre_hook = refuse
        for name, parameter in module._parameters.items():
            if parameter is not None:
                whole = f"{path}.{name}" if path else name
                weight = ServedWeight.of(whole, parameter.shape, kinds[whole])
                module._parameters[name] = weight
    return layer


class _Refusal:
    """The forward of a part."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(
            f"{self._path} is part of a layer that a server computes as a whole: "
            "it cannot be called alone or hooked, as it is not computed here"
        )


def _no_values(args: Any) -> RuntimeError:
    names = [f"{arg._name!r}" for arg in args if isinstance(arg, ServedWeight)]
    return RuntimeError(
        f"weight {', '.join(names) or 'of a layer'} is on a server: it has a shape, "
        "a dtype and a device, but no values here"
    )
