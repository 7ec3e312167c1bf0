# SPDX-License-Identifier: Apache-2.0
"""Random cases of encoder layers, blocks and stacks."""

from torch import nn

import family_masks as masks
import family_modules
from family_attention import add_d2l_valid_lens
from family_case import DTYPES_REQUIRED, at_least, rename, store
from family_encoder_case import (
    ACTIVATIONS,
    LAYOUTS,
    SIZES_REQUIRED,
    TORCH_MASKS_REQUIRED,
    EncoderCase,
    draw_torch_layer,
    layer_config,
)


def separate_projections(state):
    """in_proj_weight and in_proj_bias in three, named as linear layers."""
    separate = {}
    for name, tensor in state.items():
        stem, _, kind = name.rpartition("in_proj_")
        if not stem:
            separate[name] = tensor
            continue
        for letter, part in zip("qkv", tensor.chunk(3)):
            separate[f"{stem}{letter}_proj.{kind}"] = part.clone()
    return separate


class EncoderLayerCase(EncoderCase):
    """torch.nn.TransformerEncoderLayer."""

    family = "encoder-layer"
    kind = "transformer_encoder_layer"
    may_be_narrow = True
    required = SIZES_REQUIRED | TORCH_MASKS_REQUIRED | {
        "dtype": DTYPES_REQUIRED,
        "layout": at_least(30, *LAYOUTS),
        "activation": at_least(60, *ACTIVATIONS),
        "norm_first": at_least(60, True, False),
        "bias": at_least(30, True, False),
        "layer_norm_eps": at_least(30, "default", "small", "large"),
        "projections": at_least(30, "packed", "separate"),
        "weights_prefix": at_least(30, "", "model.attention."),
    }

    def draw(self):
        self.even("layout", ["batch first", *LAYOUTS])
        arguments = draw_torch_layer(self)
        self.config = layer_config(self, arguments)
        module = nn.TransformerEncoderLayer(**arguments)
        gain = self.random.choice([1.0, 2.0])
        self.module = family_modules.randomise(module, gain).to(self.dtype)
        state = self.module.state_dict()
        projections = self.even("projections", ["packed", "packed", "separate"])
        if projections == "separate":
            self.config["separate_projections"] = True
            state = separate_projections(state)
        store(self, state)
        self.draw_query(arguments["d_model"])
        self.draw_torch_masks()

    def run(self, module, fields):
        query = fields["query"]
        mask, padding = self.torch_masks(fields, query.dtype)
        return module(
            query,
            src_mask=mask,
            src_key_padding_mask=padding,
            is_causal=fields.get("is_causal", False),
        )


class EncoderBlockCase(EncoderCase):
    """d2l.TransformerEncoderBlock, and encoder layers written by hand."""

    family = "encoder-block"
    required = SIZES_REQUIRED | {
        "dtype": DTYPES_REQUIRED,
        "form": at_least(30, "d2l", "torch attention", "own attention"),
        "layout": at_least(30, "batch first", "packed"),
        "use_bias": at_least(30, True, False),
        "valid_lens": at_least(30, "none", "(N)", "(N, L)"),
        "a length of 0": {True: 30},
        "activation": at_least(30, *ACTIVATIONS),
        "norm_first": at_least(30, True, False),
        "transposed": at_least(30, True, False),
        "weights_prefix": at_least(30, "", "model.attention."),
    }

    def draw(self):
        form = self.even(
            "form", ["d2l", "d2l", "torch attention", "own attention"]
        )
        self.width, heads, self.inner_width = self.draw_sizes()
        if form == "d2l":
            self._draw_d2l(heads)
        else:
            self._draw_hand_written(form, heads)
        self.config |= self.config_dtype()
        self.even("layout", ["batch first", "batch first", "packed"])
        self.draw_query(self.width)
        add_d2l_valid_lens(self, (self.shape[0], *self.shape[2:]))
        if form != "d2l":
            self.config["batch_first"] = True

    def _draw_d2l(self, heads):
        self.kind = "d2l_transformer_encoder_block"
        use_bias = self.even("use_bias", [True, False])
        self.config = {
            "num_hiddens": self.width,
            "ffn_num_hiddens": self.inner_width,
            "num_heads": heads,
            "use_bias": use_bias,
        }
        module = family_modules.D2lEncoderBlock(
            self.width, self.inner_width, heads, use_bias
        )
        gain = self.random.choice([1.0, 2.0])
        self.module = family_modules.randomise(module, gain).to(self.dtype)
        store(self, self.module.state_dict())

    def _draw_hand_written(self, form, heads):
        self.kind = "transformer_encoder_layer"
        activation = self.even("activation", list(ACTIVATIONS))
        norm_first = self.even("norm_first", [True, False])
        eps = self.random.choice([1e-5, 1e-6, 1e-3])
        is_own = form == "own attention"
        self.config = {
            "d_model": self.width,
            "nhead": heads,
            "dim_feedforward": self.inner_width,
            "activation": ACTIVATIONS[activation],
            "layer_norm_eps": eps,
            "norm_first": norm_first,
            "separate_projections": is_own,
        }
        if is_own:
            attention = family_modules.HandWrittenAttention(
                (self.width,) * 3, self.width, heads, True, True
            )
        else:
            attention = nn.MultiheadAttention(
                self.width, heads, batch_first=True
            )
        module = family_modules.HandWrittenBlock(
            attention, self.inner_width, activation == "gelu", norm_first, eps
        )
        gain = self.random.choice([1.0, 2.0])
        self.module = family_modules.randomise(module, gain).to(self.dtype)
        self._store(is_own)

    def _store(self, is_own):
        # The first two are the module's own names by now; see HandWrittenBlock.
        renamed = {"linear1": "ffn.0", "linear2": "ffn.2"}
        others = {}
        if is_own and self.chance(0.7):
            others = {
                "self_attn.q_proj": "attn.query",
                "self_attn.k_proj": "attn.key",
                "self_attn.v_proj": "attn.value",
                "self_attn.out_proj": "attn.proj",
                "norm1": "ln_1",
                "norm2": "ln_2",
            }
        transposed = self.even("transposed", [True, False])
        state = rename(self.module.state_dict(), others)
        store(self, state, renamed | others, transposed)

    def run(self, module, fields):
        query = fields["query"]
        packed = self.features["layout"] == "packed"
        query = query[None] if packed else query
        if self.kind == "d2l_transformer_encoder_block":
            output = module(query, fields.get("valid_lens"))
        else:
            count, length, _ = query.shape
            shape = (count, self.num_heads, length, length)
            output = module(query, masks.dense_mask(fields, shape, query.dtype))
        return output[0] if packed else output


class _Model(nn.Module):
    """A model of which an encoder is a part."""

    def __init__(self, encoder, width):
        super().__init__()
        self.embedding = nn.Embedding(5, width)
        self.encoder = encoder
        self.head = nn.Linear(width, 2)


class _D2lEncoder(nn.Module):
    """The blocks of d2l.TransformerEncoder, under the names it gives them, and
    a norm behind them."""

    def __init__(self, make_block, num_layers, norm):
        super().__init__()
        self.blks = nn.Sequential()
        for i in range(num_layers):
            self.blks.add_module(f"block{i}", make_block())
        self.norm = norm

    def forward(self, x, valid_lens):
        for block in self.blks:
            x = block(x, valid_lens)
        return x if self.norm is None else self.norm(x)


class EncoderStackCase(EncoderCase):
    """torch.nn.TransformerEncoder inside a model, and d2l's blocks likewise."""

    family = "encoder-stack"
    kind = "transformer_encoder"
    count = 280
    largest_width = 128
    required = SIZES_REQUIRED | TORCH_MASKS_REQUIRED | {
        "dtype": DTYPES_REQUIRED,
        "layer kind": at_least(40, "torch", "d2l"),
        "num_layers": at_least(30, 1, 2, 3, 4),
        "norm": at_least(60, True, False),
        "norm_eps": at_least(30, "default", "given"),
        "activation": at_least(30, *ACTIVATIONS),
        "norm_first": at_least(30, True, False),
        "bias": at_least(30, True, False),
        "layout": at_least(30, *LAYOUTS),
        "valid_lens": at_least(10, "none", "(N)", "(N, L)"),
    }

    def draw(self):
        layer_kind = self.even("layer kind", ["torch"] * 5 + ["d2l"])
        self.num_layers = self.even("num_layers", [1, 2, 3, 4])
        self.has_norm = self.even("norm", [True, False])
        eps = self.even("norm_eps", ["default", "given"])
        self.norm_eps = 1e-5 if eps == "default" else 0.02
        self.config = {"num_layers": self.num_layers, "norm": self.has_norm}
        if eps == "given":
            self.config["norm_eps"] = self.norm_eps
        if layer_kind == "torch":
            encoder, width = self._draw_torch()
            self.draw_torch_masks()
        else:
            encoder, width = self._draw_d2l()
            add_d2l_valid_lens(self, (self.shape[0], *self.shape[2:]))
        gain = self.random.choice([1.0, 2.0])
        family_modules.randomise(encoder, gain)
        model = _Model(encoder, width).to(self.dtype)
        self.module, self.tensors = encoder, model.state_dict()
        self.header["weights_prefix"] = "encoder."

    def _draw_torch(self):
        self.even("layout", LAYOUTS)
        arguments = draw_torch_layer(self)
        width, bias = arguments["d_model"], arguments["bias"]
        self.config["layer"] = layer_config(self, arguments)
        self.draw_query(width)
        layer = nn.TransformerEncoderLayer(**arguments)
        norm = None
        if self.has_norm:
            norm = nn.LayerNorm(width, eps=self.norm_eps, bias=bias)
        encoder = nn.TransformerEncoder(
            layer, self.num_layers, norm, enable_nested_tensor=False
        )
        return encoder, width

    def _draw_d2l(self):
        width, heads, inner_width = self.draw_sizes()
        use_bias = self.chance(0.5)
        self.config["d2l_block"] = {
            "num_hiddens": width,
            "ffn_num_hiddens": inner_width,
            "num_heads": heads,
            "use_bias": use_bias,
        }
        self.even("layout", ["batch first", "packed"])
        self.draw_query(width)
        renamed = {
            f"layers.{i}": f"blks.block{i}" for i in range(self.num_layers)
        }
        self.header["weight_names"] = {"renamed": renamed}
        norm = nn.LayerNorm(width, self.norm_eps) if self.has_norm else None

        def make_block():
            return family_modules.D2lEncoderBlock(
                width, inner_width, heads, use_bias
            )

        return _D2lEncoder(make_block, self.num_layers, norm), width

    def run(self, module, fields):
        query = fields["query"]
        if self.features["layer kind"] == "d2l":
            packed = self.features["layout"] == "packed"
            query = query[None] if packed else query
            output = module(query, fields.get("valid_lens"))
            return output[0] if packed else output
        mask, padding = self.torch_masks(fields, query.dtype)
        return module(
            query,
            mask=mask,
            src_key_padding_mask=padding,
            is_causal=fields.get("is_causal", False),
        )
