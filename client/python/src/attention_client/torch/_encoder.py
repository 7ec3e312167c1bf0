# SPDX-License-Identifier: Apache-2.0
"""torch.nn.TransformerEncoderLayer on a server."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from torch import nn
from torch.nn import functional as F

from .._forward import ForwardRequest
from ..client import AttentionClient
from . import _operator, _remote
from ._judge import Modes
from ._remote import RemoteModule, Target

_ACTIVATIONS = {"ACTIVATION_RELU": "relu", "ACTIVATION_GELU": "gelu"}


class EncoderLayer(_remote.Layer):
    """A torch.nn.TransformerEncoderLayer that is served."""

    KIND = "transformer_encoder_layer"

    @staticmethod
    def to_config(layer: nn.TransformerEncoderLayer) -> Dict[str, Any]:
        """A layer's TransformerEncoderLayerConfig; ValueError if it has none."""
        reason = reason_against(layer)
        if reason is not None:
            raise ValueError(f"a layer that cannot be served: {reason}")
        return _config(layer)

    @staticmethod
    def make(config: Dict[str, Any]) -> nn.TransformerEncoderLayer:
        """The layer of a configuration, in float32 on the meta device."""
        return nn.TransformerEncoderLayer(
            config["d_model"],
            config["nhead"],
            config.get("dim_feedforward", 2048),
            config.get("dropout", 0.0),
            _ACTIVATIONS.get(config.get("activation", ""), "relu"),
            config.get("layer_norm_eps", 1e-5),
            config.get("batch_first", False),
            config.get("norm_first", False),
            config.get("bias", True),
            device="meta",
            dtype=torch.float32,
        )

    def answer(
        self,
        client: AttentionClient,
        inputs: Any,
        options: Any,
        modes: Modes,
        seed: Any,
    ) -> Tuple[Any, None]:
        """Output, as the layer's forward."""
        src = inputs[0]
        (dtype,) = self.stand_in.check((src,), _as_named(options), modes)
        # What is added up on the way is in the wider of both.
        src = src.to(torch.promote_types(src.dtype, dtype))
        padding, mask = options["key_padding_mask"], options["attn_mask"]
        causal = _remote.mask_options(
            self.stand_in, mask, options["is_causal"], padding is not None
        )
        request = ForwardRequest(
            self.name,
            src,
            key_padding_mask=padding,
            **causal,
            **_remote.dropout_options(seed),
        )
        return _remote.compute(client, request)[0].to(dtype), None

    def answer_shapes(
        self, inputs: Any, options: Any, modes: Modes
    ) -> List[Tuple[Any, torch.dtype]]:
        """Shape and dtype of the output."""
        src = inputs[0]
        (dtype,) = self.stand_in.answer_dtypes((src,), _as_named(options), modes)
        return [(src.shape, dtype)]


_operator.register("EncoderLayer", EncoderLayer.described)


def _as_named(options: Dict[str, Any]) -> Dict[str, Any]:
    """The options as the layer's forward calls them."""
    return {
        "src_mask": options["attn_mask"],
        "src_key_padding_mask": options["key_padding_mask"],
        "is_causal": options["is_causal"],
    }


class RemoteTransformerEncoderLayer(RemoteModule):
    """Takes the place of a torch.nn.TransformerEncoderLayer.

    Computes what PyTorch computes off its fast path: rows of padding have ordinary
    values, and float masks are added. The layers of a torch.nn.TransformerEncoder
    may be replaced one by one; it then does not make nested tensors.
    """

    def __init__(
        self,
        source: Union[nn.TransformerEncoderLayer, str],
        target: Target,
        *,
        name: Optional[str] = None,
        replace: bool = False,
        compute_dtype: str = "float32",
    ) -> None:
        """Serve a layer's weights, or use a module that is served.

        As `RemoteMultiheadAttention`. ValueError also for a layer that has been
        changed into what its constructor cannot make: see `reason_against`.
        """
        client = _remote.connect(target)
        if isinstance(source, str):
            super().__init__(client, EncoderLayer.found(client, source))
            return
        naming = {"name": name, "replace": replace}
        layer = EncoderLayer.uploaded(client, source, compute_dtype, **naming)
        super().__init__(client, layer)
        self.train(source.training)

    def forward(
        self,
        src: torch.Tensor,
        src_mask: Optional[torch.Tensor] = None,
        src_key_padding_mask: Optional[torch.Tensor] = None,
        is_causal: bool = False,
    ) -> torch.Tensor:
        """The forward of torch.nn.TransformerEncoderLayer.

        See `RemoteMultiheadAttention.forward` for masks, devices, dropout and
        errors.
        """
        options = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask}
        return self._answer((src, src, src), is_causal=is_causal, **options)[0]


def reason_against(layer: nn.TransformerEncoderLayer) -> Optional[str]:
    """Why the service cannot compute a layer; None if it can."""
    if _activation(layer) is None:
        return f"activation: expected relu or gelu, got {layer.activation!r}"
    if layer.norm1.eps != layer.norm2.eps:
        return f"norms: expected one eps, got {layer.norm1.eps} and {layer.norm2.eps}"
    dropouts = {part.p for part in (layer.dropout, layer.dropout1, layer.dropout2)}
    dropouts.add(layer.self_attn.dropout)
    if len(dropouts) != 1:
        return f"dropout: expected one probability, got {sorted(dropouts)}"
    config = _config(layer)
    as_made = EncoderLayer.make(config)
    made = {name: tuple(weight.shape) for name, weight in as_made.state_dict().items()}
    got = {name: tuple(weight.shape) for name, weight in layer.state_dict().items()}
    if made != got:
        changed = sorted(dict(made.items() ^ got.items()))
        return f"parameters: expected those its constructor makes, but for {changed}"
    hooked = [
        name for name, part in layer.named_modules() if name and _remote.hooks(part)
    ]
    if hooked:
        return f"hooks: expected none inside, got some of {', '.join(hooked)}"
    if layer.self_attn.add_zero_attn:
        return "self_attn: expected one without add_zero_attn"
    return None


def _config(layer: nn.TransformerEncoderLayer) -> Dict[str, Any]:
    return {
        "d_model": layer.self_attn.embed_dim,
        "nhead": layer.self_attn.num_heads,
        "dim_feedforward": layer.linear1.out_features,
        "dropout": layer.dropout.p,
        "activation": _activation(layer),
        "layer_norm_eps": layer.norm1.eps,
        "batch_first": layer.self_attn.batch_first,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
        **_remote.stored_dtype(layer),
    }


def _activation(layer: nn.TransformerEncoderLayer) -> Optional[str]:
    activation = layer.activation
    if activation in (F.relu, torch.relu) or isinstance(activation, nn.ReLU):
        return "ACTIVATION_RELU"
    exact = isinstance(activation, nn.GELU) and activation.approximate == "none"
    return "ACTIVATION_GELU" if activation is F.gelu or exact else None
