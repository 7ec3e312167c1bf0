# SPDX-License-Identifier: Apache-2.0
"""What PyTorch's checks read of a call, so that they can be made without it."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, NamedTuple, Optional, Tuple, Type

import torch
from torch.utils import _python_dispatch

REMEMBERED_CALLS = 256
"""How many calls that passed are remembered, by what is read of them."""


class Modes(NamedTuple):
    """What, beside its arguments, decides what dtype a layer answers in.

    Attributes:
        training: the layer's mode.
        autocast: the dtype of torch.autocast; None without.
        grad: whether gradients are recorded.
    """

    training: bool
    autocast: Optional[torch.dtype] = None
    grad: bool = False


class Described(NamedTuple):
    """What a layer's checks read of a tensor."""

    shape: Tuple[int, ...]
    dtype: torch.dtype
    contiguous: bool
    requires_grad: bool

    def on_meta(self) -> Any:
        """A tensor of this shape; floating ones are float32."""
        dtype = torch.float32 if self.dtype.is_floating_point else self.dtype
        return torch.empty(self.shape, dtype=dtype, device="meta")

    def on_cpu(self) -> Any:
        """A tensor of zeros."""
        shape = self.shape if self.contiguous else self.shape[::-1]
        tensor = torch.zeros(shape, dtype=self.dtype, device="cpu")
        if not self.contiguous:
            tensor = tensor.permute(*reversed(range(tensor.dim())))
        return tensor.requires_grad_(self.requires_grad)


def refuse_nested(tensors: Any, error: Type[Exception]) -> None:
    """Raise for nested tensors of any layout, which PyTorch's modules may take."""
    if any(tensor.is_nested for tensor in tensors):
        raise error(
            "a layer on a server does not take nested tensors: pass a padded batch "
            "and a mask"
        )


def modes_of(tensor: Any, training: bool) -> Modes:
    """The modes a layer is called in with a tensor."""
    return Modes(training, autocast_dtype(tensor), torch.is_grad_enabled())


def autocast_dtype(tensor: Any) -> Optional[torch.dtype]:
    """What torch.autocast casts such tensors to; None without it."""
    kind = tensor.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return None


@contextlib.contextmanager
def judged_in(modes: Modes) -> Iterator[None]:
    """In these modes alone, whatever the caller's are."""
    dtype, enabled = modes.autocast or torch.bfloat16, modes.autocast is not None
    with _python_dispatch._disable_current_modes(), torch.inference_mode(False):
        with torch.set_grad_enabled(modes.grad):
            with torch.autocast("cpu", dtype, enabled=enabled):
                yield


def described(value: Any) -> Any:
    """A tensor's description; anything else as it is."""
    if not torch.is_tensor(value):
        return value
    shape = tuple(value.shape)
    return Described(shape, value.dtype, value.is_contiguous(), value.requires_grad)


def of_any_size(value: Any) -> Any:
    """`described`, of a tensor whose sizes may be unknown: two in each dimension."""
    if not torch.is_tensor(value):
        return value
    return Described((2,) * value.dim(), value.dtype, True, value.requires_grad)


def small(value: Any) -> Any:
    """A description with at most two elements in each dimension."""
    if not isinstance(value, Described):
        return value
    return value._replace(shape=tuple(min(size, 2) for size in value.shape))
