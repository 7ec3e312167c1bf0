# SPDX-License-Identifier: Apache-2.0
"""Moves the attention of an existing model to a server."""

from __future__ import annotations

from typing import Any, Callable, Dict

from torch import nn

from . import _encoder, _remote
from ._attention import RemoteMultiheadAttention
from ._encoder import RemoteTransformerEncoderLayer
from ._remote import RemoteModule, Target

# Makes the remote module, of a class, that takes a layer's place.
_Remote = Callable[[Any, Any], Any]


def offload(
    model: nn.Module, target: Target, *, compute_dtype: str = "float32"
) -> Any:
    """Replace every attention layer of a model by one that a server computes.

    Replaced are torch.nn.TransformerEncoderLayer and torch.nn.MultiheadAttention,
    wherever they are: both attentions of a decoder layer too. Of an encoder layer
    that the service cannot compute (another activation, say, or hooks inside) the
    attention alone. Subclasses with a forward of their own stay. Forward hooks go
    over to what takes the layer's place.

    The model is changed in place: the weights of what is replaced are freed with
    it. Modules are named by their content; offloading a model again, here or
    elsewhere, uploads nothing.

    Args:
        model: any module.
        target: a client, or a server's address.
        compute_dtype: what to compute in: see `RemoteMultiheadAttention`.

    Returns:
        The model; or its replacement, where it is itself such a layer.

    Raises:
        ValueError: compute_dtype is none of them.
        AttentionError: a layer could not be uploaded; those before it are replaced.
    """
    client = _remote.connect(target)

    def remote(layer: Any, kind: Any) -> Any:
        made = kind(layer, client, compute_dtype=compute_dtype)
        for name, hooks in _remote.hooks(layer).items():
            setattr(made, name, hooks)  # The same, for their handles.
        return made

    return _replaced(model, remote, {})


def unload(model: nn.Module) -> None:
    """Stop serving the modules of a model's remote layers, for everyone."""
    for module in model.modules():
        if isinstance(module, RemoteModule):
            module.unload()


def _replaced(module: Any, remote: _Remote, done: Dict[int, Any]) -> Any:
    """`module` or what takes its place; one layer in two places stays one."""
    if id(module) in done:
        return done[id(module)]
    done[id(module)] = module
    forward = type(module).forward
    if forward is nn.TransformerEncoderLayer.forward:
        if _encoder.reason_against(module) is None:
            done[id(module)] = remote(module, RemoteTransformerEncoderLayer)
            return done[id(module)]
    elif forward is nn.MultiheadAttention.forward:
        done[id(module)] = remote(module, RemoteMultiheadAttention)
        return done[id(module)]
    for name, child in module._modules.items():  # named_children() skips the second.
        if child is not None:
            setattr(module, name, _replaced(child, remote, done))
    return module
