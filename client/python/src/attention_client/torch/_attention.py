# SPDX-License-Identifier: Apache-2.0
"""torch.nn.MultiheadAttention on a server."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from torch import nn

from .._forward import ForwardRequest
from ..client import AttentionClient
from . import _operator, _remote
from ._judge import Modes
from ._remote import RemoteModule, Target

_OPTIONS = (
    "key_padding_mask",
    "need_weights",
    "attn_mask",
    "average_attn_weights",
    "is_causal",
)


class Attention(_remote.Layer):
    """A torch.nn.MultiheadAttention that is served."""

    KIND = "multi_head_attention"

    @staticmethod
    def to_config(layer: nn.MultiheadAttention) -> Dict[str, Any]:
        """A layer's MultiHeadAttentionConfig."""
        config: Dict[str, Any] = {
            "embed_dim": layer.embed_dim,
            "num_heads": layer.num_heads,
            "dropout": layer.dropout,
            "bias": layer.in_proj_bias is not None,
            "add_bias_kv": layer.bias_k is not None,
            "add_zero_attn": layer.add_zero_attn,
            "batch_first": layer.batch_first,
        }
        if not layer._qkv_same_embed_dim:
            config.update(kdim=layer.kdim, vdim=layer.vdim)
        config.update(_remote.stored_dtype(layer))
        return config

    @staticmethod
    def check_config(name: str, config: Dict[str, Any]) -> None:
        """ValueError for what torch.nn.MultiheadAttention cannot have."""
        others = config.get("query_dim", config["embed_dim"]) != config["embed_dim"]
        if others or not config.get("output_projection", True):
            raise ValueError(
                f"module {name!r}: expected a torch.nn.MultiheadAttention, got one "
                "with query_dim or without output_projection, which it cannot have"
            )

    @staticmethod
    def make(config: Dict[str, Any]) -> nn.MultiheadAttention:
        """The layer of a configuration, in float32 on the meta device."""
        return nn.MultiheadAttention(
            config["embed_dim"],
            config["num_heads"],
            dropout=config.get("dropout", 0.0),
            bias=config.get("bias", True),
            add_bias_kv=config.get("add_bias_kv", False),
            add_zero_attn=config.get("add_zero_attn", False),
            kdim=config.get("kdim"),
            vdim=config.get("vdim"),
            batch_first=config.get("batch_first", False),
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
    ) -> Tuple[Any, Any]:
        """Output and weights, as the layer's forward."""
        dtype, *others = self.stand_in.check(inputs, _as_named(options), modes)
        query, key, value = _remote.in_dtype(inputs, dtype)
        padding, mask = options["key_padding_mask"], options["attn_mask"]
        decided = options["need_weights"] or padding is not None
        causal = _remote.mask_options(
            self.stand_in, mask, options["is_causal"], decided
        )
        request = ForwardRequest(
            self.name,
            query,
            None if key is query else key,
            None if value is key else value,
            key_padding_mask=padding,
            need_weights=options["need_weights"],
            average_attn_weights=options["average_attn_weights"],
            **causal,
            **_remote.dropout_options(seed),
        )
        output, weights = _remote.compute(client, request)
        return output, None if weights is None else weights.to(*others)

    def answer_shapes(
        self, inputs: Any, options: Any, modes: Modes
    ) -> List[Tuple[Any, torch.dtype]]:
        """Shapes and dtypes of what is not None."""
        query, key, _ = inputs
        attention = self.stand_in.layer
        appended = (attention.bias_k is not None) + attention.add_zero_attn
        batched, first = query.dim() == 3, attention.batch_first
        batch = (query.shape[0 if first else 1],) if batched else ()
        length = 1 if batched and first else 0
        heads = () if options["average_attn_weights"] else (attention.num_heads,)
        shapes = [
            (*query.shape[:-1], attention.embed_dim),
            (*batch, *heads, query.shape[length], key.shape[length] + appended),
        ]
        dtypes = self.stand_in.answer_dtypes(inputs, _as_named(options), modes)
        return list(zip(shapes, dtypes))


_operator.register("Attention", Attention.described)


def _as_named(options: Dict[str, Any]) -> Dict[str, Any]:
    """The options that the layer's forward has."""
    return {name: options[name] for name in _OPTIONS}


class RemoteMultiheadAttention(RemoteModule):
    """Takes the place of a torch.nn.MultiheadAttention.

        layer = RemoteMultiheadAttention(layer, "127.0.0.1:50051")
        layer = RemoteMultiheadAttention("name of a served module", client)

    Answers are PyTorch's to float32 tolerance, unless computed in bfloat16 or where
    README says that they are deliberately better: NaN in padding is never read.
    """

    def __init__(
        self,
        source: Union[nn.MultiheadAttention, str],
        target: Target,
        *,
        name: Optional[str] = None,
        replace: bool = False,
        compute_dtype: str = "float32",
    ) -> None:
        """Serve a layer's weights, or use a module that is served.

        Args:
            source: the layer, whose weights are uploaded; or the name of a served
                module.
            target: a client, which may be shared, or a server's address.
            name: the name to serve a layer's weights under. Default: one made from
                its content, so that the same layer is uploaded and kept once.
            replace: whether a module of this name may be replaced.
            compute_dtype: what to compute a layer in, whatever the dtype of its
                weights: "float32", or "bfloat16", which is faster and keeps 2 or 3
                digits. Not for float64 weights. A served module has its own.

        Raises:
            ModuleExistsError: `name` is taken and not `replace`.
            UnknownModuleError: no module of the name `source` is served.
            ValueError: that module is not a torch.nn.MultiheadAttention; or
                compute_dtype is another, or not for these weights.
            AttentionError: the server cannot be reached or does not take it.
        """
        client = _remote.connect(target)
        if isinstance(source, str):
            super().__init__(client, Attention.found(client, source))
            return
        naming = {"name": name, "replace": replace}
        layer = Attention.uploaded(client, source, compute_dtype, **naming)
        super().__init__(client, layer)
        self.train(source.training)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: Optional[torch.Tensor] = None,
        need_weights: bool = True,
        attn_mask: Optional[torch.Tensor] = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
        """The forward of torch.nn.MultiheadAttention.

        Boolean masks are True where masked. Tensors may be on any device; the
        answers are on the query's. In train() mode dropout is applied, drawn from
        PyTorch's default generator.

        Raises what PyTorch raises (AssertionError, RuntimeError) for shapes and
        dtypes that do not fit, RuntimeError in the backward pass, and
        `attention_client.errors` for what befalls the call.
        """
        return self._answer(
            (query, key, value),
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
