# SPDX-License-Identifier: Apache-2.0
"""Modules and requests of every family that cannot be are refused with
INVALID_ARGUMENT, and the text names the field."""

import grpc
import torch
from attention.v1 import module_config_pb2
from torch import nn

import family_modules
import live
import remote

D2L = {"num_hiddens": 8, "num_heads": 2, "query_size": 3, "key_size": 5}
SDPA = {
    "num_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 3,
    "value_head_dim": 5,
}
LAYER = {
    "d_model": 8,
    "nhead": 2,
    "dim_feedforward": 6,
    "batch_first": True,
}
D2L_DOT = {"query_size": 3, "value_size": 4}
BLOCK = {"num_hiddens": 8, "ffn_num_hiddens": 6, "num_heads": 2}
STACK = {"layer": LAYER, "num_layers": 2, "norm": True}
SINGLE = {
    "embed_dim": 8,
    "num_heads": 1,
    "query_dim": 3,
    "kdim": 3,
    "vdim": 3,
    "separate_projections": True,
    "output_projection": False,
}
KINDS = {
    "d2l": ("d2l_multi_head_attention", D2L),
    "d2l-dot": ("d2l_dot_product_attention", D2L_DOT),
    "sdpa": ("scaled_dot_product_attention", SDPA),
    "layer": ("transformer_encoder_layer", LAYER),
    "block": ("d2l_transformer_encoder_block", BLOCK),
    "stack": ("transformer_encoder", STACK),
    "single": ("multi_head_attention", SINGLE),
}

# Valid inputs of each: L = 3, S = 5, N = 2.
INPUTS = {
    "d2l": {"query": (2, 3, 3), "key": (2, 5, 5), "value": (2, 5, 8)},
    "d2l-dot": {"query": (2, 3, 3), "key": (2, 5, 3), "value": (2, 5, 4)},
    "sdpa": {"query": (2, 4, 3, 3), "key": (2, 2, 5, 3), "value": (2, 2, 5, 5)},
    "layer": {"query": (2, 3, 8)},
    "block": {"query": (2, 3, 8)},
    "stack": {"query": (2, 3, 8)},
    "single": {"query": (2, 3, 3)},
}
BESIDE = {"query": (2, 3, 12), "key": (2, 5, 6), "value": (2, 5, 10)}


def bools(*shape):
    return torch.zeros(shape, dtype=torch.bool)


def integers(*shape):
    return torch.zeros(shape, dtype=torch.int32)


# What is wrong with a request: (module, fields, a word of the error text).
REQUESTS = {
    "query of another width": ("d2l", {"query": (2, 3, 8)}, "query_size"),
    "key of another width": ("d2l", {"key": (2, 5, 8)}, "key_size"),
    "value of another width": ("d2l", {"value": (2, 5, 5)}, "value_size"),
    "floating valid_lens": ("d2l", {"valid_lens": torch.ones(2)}, "valid_lens"),
    "valid_lens of another batch": (
        "d2l", {"valid_lens": integers(3)}, "valid_lens"),
    "valid_lens of the keys' length": (
        "d2l", {"valid_lens": integers(2, 5)}, "valid_lens"),
    "bare query of another width": (
        "d2l-dot", {"query": (2, 3, 4)}, "query_size"),
    "bare key of another width": ("d2l-dot", {"key": (2, 5, 4)}, "query_size"),
    "bare value of another width": (
        "d2l-dot", {"value": (2, 5, 3)}, "value_size"),
    "bare query alone where values differ": (
        "d2l-dot", {"key": None, "value": None}, "value"),
    "bare floating valid_lens": (
        "d2l-dot", {"valid_lens": torch.ones(2)}, "valid_lens"),
    "query of other heads": ("sdpa", {"query": (2, 2, 3, 3)}, "query"),
    "query of another head size": ("sdpa", {"query": (2, 4, 3, 5)}, "query"),
    "key of as many heads as query": ("sdpa", {"key": (2, 4, 5, 3)}, "key:"),
    "key of one head": ("sdpa", {"key": (2, 1, 5, 3)}, "key:"),
    "value of key's head size": ("sdpa", {"value": (2, 2, 5, 3)}, "value:"),
    "value of other heads": ("sdpa", {"value": (2, 4, 5, 5)}, "value:"),
    "value of another length": ("sdpa", {"value": (2, 2, 6, 5)}, "value:"),
    "key of another batch": (
        "sdpa", {"key": (1, 2, 5, 3), "value": (1, 2, 5, 5)}, "key:"),
    "heads side by side and apart": ("sdpa", {"key": (2, 5, 6)}, "key:"),
    "heads side by side, another width": (
        "sdpa", BESIDE | {"query": (2, 3, 13)}, "query"),
    "heads side by side, key as wide as query": (
        "sdpa", BESIDE | {"key": (2, 5, 12)}, "key:"),
    "query 5-D": ("sdpa", {"query": (1, 2, 4, 3, 3)}, "query"),
    "no key where it has other heads": (
        "sdpa", {"key": None, "value": None}, "key (= query):"),
    "attn_mask of other heads": (
        "sdpa", {"attn_mask": bools(2, 2, 3, 5)}, "attn_mask"),
    "attn_mask (N, H, L, 1)": (
        "sdpa", {"attn_mask": bools(2, 4, 3, 1)}, "attn_mask"),
    "attn_mask (N, L, S)": (
        "sdpa", {"attn_mask": bools(2, 3, 5)}, "attn_mask"),
    "attn_mask 5-D": (
        "sdpa", {"attn_mask": bools(1, 2, 4, 3, 5)}, "attn_mask"),
    "attn_mask of integers": (
        "sdpa", {"attn_mask": integers(3, 5)}, "attn_mask"),
    "src of another width": ("layer", {"query": (2, 3, 6)}, "d_model"),
    "src 4-D": ("layer", {"query": (2, 2, 3, 4)}, "query"),
    "src_mask 4-D": ("layer", {"attn_mask": bools(2, 2, 3, 3)}, "attn_mask"),
    "src_mask of another length": (
        "layer", {"attn_mask": bools(3, 4)}, "attn_mask"),
    "src_mask (N, L, L)": ("layer", {"attn_mask": bools(2, 3, 3)}, "attn_mask"),
    "padding of another length": (
        "layer", {"key_padding_mask": bools(2, 4)}, "key_padding_mask"),
    "is_causal without a mask": ("layer", {"is_causal": True}, "is_causal"),
    "block's query of another width": (
        "block", {"query": (2, 3, 6)}, "num_hiddens"),
    "query_lengths that do not add up": (
        "stack", {"query": (6, 8), "query_lengths": [3, 4]}, "query_lengths"),
    "head of another width": ("single", {"query": (2, 3, 8)}, "query_dim"),
}
for _name in ("layer", "block", "stack"):
    REQUESTS |= {
        f"key for a {_name}": (_name, {"key": (2, 3, 8)}, "key:"),
        f"value for a {_name}": (_name, {"value": (2, 3, 8)}, "value:"),
        f"weights of a {_name}": (
            _name, {"need_weights": True}, "need_weights"),
    }

# What is wrong with a module: (module, changes to its config, a word).
CONFIGS = {
    "heads that do not divide": ("d2l", {"num_heads": 3}, "num_heads"),
    "no heads": ("d2l", {"num_heads": 0}, "num_heads"),
    "no query_size": ("d2l", {"query_size": 0}, "query_size"),
    "value_size out of range": ("d2l", {"value_size": 65537}, "value_size"),
    "dropout above 1": ("d2l", {"dropout": 1.5}, "dropout"),
    "no bare query_size": ("d2l-dot", {"query_size": 0}, "query_size"),
    "bare value_size out of range": (
        "d2l-dot", {"value_size": 65537}, "value_size"),
    "groups that do not divide": (
        "sdpa", {"num_key_value_heads": 3}, "num_key_value_heads"),
    "no groups": ("sdpa", {"num_key_value_heads": 0}, "num_key_value_heads"),
    "no head_dim": ("sdpa", {"head_dim": 0}, "head_dim"),
    "negative value_head_dim": (
        "sdpa", {"value_head_dim": -1}, "value_head_dim"),
    "heads too wide together": ("sdpa", {"head_dim": 16385}, "head_dim"),
    "infinite scale": ("sdpa", {"scale": float("inf")}, "scale"),
    "scale not a number": ("sdpa", {"scale": float("nan")}, "scale"),
    "nhead that does not divide": ("layer", {"nhead": 3}, "nhead"),
    "no d_model": ("layer", {"d_model": 0}, "d_model"),
    "no dim_feedforward": ("layer", {"dim_feedforward": 0}, "dim_feedforward"),
    "dim_feedforward out of range": (
        "layer", {"dim_feedforward": 262145}, "dim_feedforward"),
    "negative epsilon": ("layer", {"layer_norm_eps": -1e-5}, "layer_norm_eps"),
    "epsilon not a number": (
        "layer", {"layer_norm_eps": float("nan")}, "layer_norm_eps"),
    "unknown activation": ("layer", {"activation": 9}, "activation"),
    "layer dropout below 0": ("layer", {"dropout": -0.1}, "dropout"),
    "layer of integers": ("layer", {"dtype": torch.int32}, "dtype"),
    "bias that is not stored": (
        "block", {"use_bias": True}, "attention.W_q.bias"),
    "biases that are not expected": ("layer", {"bias": False}, "bias"),
    "projections that are not separate": (
        "layer", {"separate_projections": True}, "self_attn.q_proj.weight"),
    "no ffn_num_hiddens": ("block", {"ffn_num_hiddens": 0}, "ffn_num_hiddens"),
    "no layers": ("stack", {"num_layers": 0}, "num_layers"),
    "too many layers": ("stack", {"num_layers": 1025}, "num_layers"),
    "more layers than stored": ("stack", {"num_layers": 3}, "layers.2."),
    "fewer layers than stored": ("stack", {"num_layers": 1}, "layers.1."),
    "no norm though stored": ("stack", {"norm": False}, "norm."),
    "negative norm_eps": ("stack", {"norm_eps": -1.0}, "norm_eps"),
    "heads in a stack": ("stack", {"layer": LAYER | {"nhead": 3}}, "nhead"),
    "query_dim of packed projections": (
        "single", {"separate_projections": False}, "query_dim"),
    "output projection not stored": (
        "single", {"output_projection": True}, "out_proj.weight"),
}

# What is wrong with the names in the file: (module, WeightNames, a word).
NAMES = {
    "name that is not stored": (
        "layer", {"renamed": {"linear1": "fc"}}, "fc.weight"),
    "one name for two": (
        "layer", {"renamed": {"norm1": "n", "norm2": "n"}}, "n.weight"),
    "transposed though it is not": (
        "layer", {"transposed": True}, "in_proj_weight"),
    "too many names": (
        "layer", {"renamed": {f"name{i}": "x" for i in range(257)}}, "renamed"),
}


def make_modules():
    """PyTorch's module of each kind; attention itself has no tensors."""
    layer = nn.TransformerEncoderLayer(8, 2, 6, batch_first=True)
    return {
        "d2l": family_modules.D2lAttention((3, 5, 8), 8, 2, bias=False),
        "d2l-dot": nn.Identity(),
        "sdpa": nn.Identity(),
        "layer": layer,
        "block": family_modules.D2lEncoderBlock(8, 6, 2, use_bias=False),
        "stack": nn.TransformerEncoder(
            layer, 2, nn.LayerNorm(8), enable_nested_tensor=False
        ),
        "single": family_modules.HandWrittenAttention(
            (3, 3, 3), 8, 1, bias=True, output_projection=False
        ),
    }


class LiveFamilyErrorTest(live.LiveTestCase):
    def setUp(self):
        super().setUp()
        self.states = {n: m.state_dict() for n, m in make_modules().items()}
        for name in KINDS:
            self.upload_as(name, name)

    def upload_as(self, served_name, name, change=None, **header):
        kind, config = KINDS[name]
        config = remote.to_config(config | (change or {}), kind)
        self.client.upload(served_name, config, self.states[name], **header)

    def forward(self, name, fields=None):
        """Forward with random tensors in place of shapes."""
        fields = INPUTS[name] | (fields or {})
        tensors = {
            field: torch.randn(value) if isinstance(value, tuple) else value
            for field, value in fields.items()
        }
        return self.client.forward(name, **tensors)

    def assert_invalid(self, call, word):
        """`call` fails with INVALID_ARGUMENT and a text that has the word."""
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        status = raised.exception
        self.assertEqual(
            status.code(), grpc.StatusCode.INVALID_ARGUMENT, status.details()
        )
        self.assertIn(word, status.details())

    def test_accepts_what_the_tables_start_from(self):
        for name in KINDS:
            with self.subTest(name):
                answer = self.forward(name)

                self.assertEqual(answer.output.shape[0], 2)
        self.assertEqual(self.forward("sdpa", BESIDE).output.shape, (2, 3, 20))

    def test_refuses_impossible_requests(self):
        for what, (name, fields, word) in REQUESTS.items():
            with self.subTest(what):
                self.assert_invalid(lambda: self.forward(name, fields), word)

    def test_refuses_impossible_configs(self):
        for what, (name, change, word) in CONFIGS.items():
            with self.subTest(what):
                self.assert_invalid(
                    lambda: self.upload_as("bad", name, change), word
                )

    def test_refuses_names_that_do_not_fit_the_file(self):
        for what, (name, names, word) in NAMES.items():
            with self.subTest(what):
                self.assert_invalid(
                    lambda: self.upload_as("bad", name, weight_names=names),
                    word,
                )

    def test_refuses_weights_for_attention_that_has_none(self):
        state = {"weight": torch.zeros(2)}
        for name in ("sdpa", "d2l-dot"):
            kind, config = KINDS[name]
            config = remote.to_config(config, kind)
            with self.subTest(name):
                self.assert_invalid(
                    lambda: self.client.upload("bad", config, state), "weight"
                )

    def test_refuses_a_config_without_a_kind(self):
        config = module_config_pb2.ModuleConfig()

        self.assert_invalid(
            lambda: self.client.upload("bad", config, {}), "kind"
        )

    def test_refuses_a_stack_without_a_layer(self):
        config = remote.to_config({"num_layers": 2}, "transformer_encoder")

        self.assert_invalid(
            lambda: self.client.upload("bad", config, {}), "layer"
        )


if __name__ == "__main__":
    live.main()
