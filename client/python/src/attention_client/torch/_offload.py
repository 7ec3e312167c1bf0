# SPDX-License-Identifier: Apache-2.0
"""Moves the attention of an existing model to a server."""

from __future__ import annotations

from typing import Any, Dict

from torch import nn

from ..client import AttentionClient
from . import _encoder, _remote
from ._attention import RemoteMultiheadAttention
from ._encoder import RemoteTransformerEncoderLayer
from ._remote import RemoteModule, Target


def offload(model: nn.Module, target: Target) -> Any:
    """Replace every attention layer of a model by one that a server computes.

    Replaced are torch.nn.TransformerEncoderLayer and torch.nn.MultiheadAttention,
    wherever they are: both attentions of a decoder layer too. Of an encoder layer
    that the service cannot compute (another activation, say) the attention alone.
    Subclasses with a forward of their own stay.

    The model is changed in place: the weights of what is replaced are freed with
    it. Modules are named by their content; offloading a model again, here or
    elsewhere, uploads nothing.

    Args:
        model: any module.
        target: a client, or a server's address.

    Returns:
        The model; or its replacement, where it is itself such a layer.

    Raises:
        AttentionError: a layer could not be uploaded; those before it are replaced.
    """
    return _replaced(model, _remote.connect(target), {})


def unload(model: nn.Module) -> None:
    """Stop serving the modules of a model's remote layers, for everyone."""
    for module in model.modules():
        if isinstance(module, RemoteModule):
            module.unload()


def _replaced(module: Any, client: AttentionClient, done: Dict[int, Any]) -> Any:
    """`module` or what takes its place; one layer in two places stays one."""
    if id(module) in done:
        return done[id(module)]
    done[id(module)] = module
    forward = type(module).forward
    if forward is nn.TransformerEncoderLayer.forward:
        if _encoder.reason_against(module) is None:
            done[id(module)] = RemoteTransformerEncoderLayer(module, client)
            return done[id(module)]
    elif forward is nn.MultiheadAttention.forward:
        done[id(module)] = RemoteMultiheadAttention(module, client)
        return done[id(module)]
    for name, child in module.named_children():
        setattr(module, name, _replaced(child, client, done))
    return module
