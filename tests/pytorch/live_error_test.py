# SPDX-License-Identifier: Apache-2.0
"""Every request PyTorch refuses is refused with INVALID_ARGUMENT.

The numbers are those of the errors PyTorch raises, in the order of its checks
(torch/nn/functional.py, _mha_shape_check and multi_head_attention_forward).
"""

import grpc
import torch

import judge
import live

# Arguments of randn for valid tensors of the modules below: L = 3, S = 5,
# N = 2, E = 8, H = 2; "separate" has kdim = 6 and vdim = 4.
BATCHED = {"query": (3, 2, 8), "key": (5, 2, 8)}
UNBATCHED = {"query": (3, 8), "key": (5, 8)}
SEPARATE = {"query": (3, 2, 8), "key": (5, 2, 6), "value": (5, 2, 4)}


def bools(*shape):
    return torch.zeros(shape, dtype=torch.bool)


def integers(*shape):
    return torch.zeros(shape, dtype=torch.int32)


# What is wrong: (valid inputs, what replaces them, a word of the error text).
# PyTorch raises for each.
TORCH_ERRORS = {
    "1 attn_mask of integers": (
        BATCHED, {"attn_mask": integers(3, 5)}, "attn_mask"),
    "1 key_padding_mask of integers": (
        BATCHED, {"key_padding_mask": integers(2, 5)}, "key_padding_mask"),
    "2 query 1-D": (BATCHED, {"query": (8,)}, "query"),
    "2 query 4-D": (BATCHED, {"query": (1, 3, 2, 8)}, "query"),
    "3 batched query, unbatched key": (BATCHED, {"key": (5, 8)}, "key"),
    "3 batched query, unbatched value": (BATCHED, {"value": (5, 8)}, "value"),
    "3 unbatched query, batched key": (UNBATCHED, {"key": (5, 2, 8)}, "key"),
    "4 batched query, key_padding_mask 1-D": (
        BATCHED, {"key_padding_mask": bools(5)}, "key_padding_mask"),
    "4 unbatched query, key_padding_mask 2-D": (
        UNBATCHED, {"key_padding_mask": bools(1, 5)}, "key_padding_mask"),
    "5 batched query, attn_mask 1-D": (
        BATCHED, {"attn_mask": bools(5)}, "attn_mask"),
    "5 batched query, attn_mask 4-D": (
        BATCHED, {"attn_mask": bools(2, 2, 3, 5)}, "attn_mask"),
    "5 unbatched query, attn_mask 4-D": (
        UNBATCHED, {"attn_mask": bools(1, 2, 3, 5)}, "attn_mask"),
    "6 unbatched query, attn_mask for another number of heads": (
        UNBATCHED, {"attn_mask": bools(3, 3, 5)}, "attn_mask"),
    "7 is_causal without attn_mask": (BATCHED, {"is_causal": True}, "is_causal"),
    "8 query of another width": (BATCHED, {"query": (3, 2, 9)}, "query"),
    "10 key and value of different lengths": (
        BATCHED, {"value": (4, 2, 8)}, "value"),
    "10 key and value of different batches": (
        BATCHED, {"value": (5, 3, 8)}, "value"),
    "10 separate key and value of different lengths": (
        SEPARATE, {"value": (4, 2, 4)}, "value"),
    "13 key of another width": (
        BATCHED, {"key": (5, 2, 6), "value": (5, 2, 6)}, "key"),
    "13 separate key of another width": (SEPARATE, {"key": (5, 2, 8)}, "key"),
    "13 separate value of another width": (
        SEPARATE, {"value": (5, 2, 8)}, "value"),
    "14 attn_mask (S, L)": (BATCHED, {"attn_mask": bools(5, 3)}, "attn_mask"),
    "14 attn_mask to be broadcast": (
        BATCHED, {"attn_mask": bools(1, 5)}, "attn_mask"),
    "14 attn_mask (N, L, S)": (
        BATCHED, {"attn_mask": bools(2, 3, 5)}, "attn_mask"),
    "14 attn_mask (N*H, L, L)": (
        BATCHED, {"attn_mask": bools(4, 3, 3)}, "attn_mask"),
    "17 key_padding_mask of another batch": (
        BATCHED, {"key_padding_mask": bools(3, 5)}, "key_padding_mask"),
    "17 key_padding_mask of another length": (
        BATCHED, {"key_padding_mask": bools(2, 4)}, "key_padding_mask"),
    "18 key of another batch than query": (
        BATCHED, {"key": (5, 3, 8)}, "key"),
    "key of another dtype than query": (
        BATCHED, {"key": torch.randn(5, 2, 8).double()}, "key"),
    "query of integers": (BATCHED, {"query": integers(3, 2, 8)}, "query"),
}

# The same for fields PyTorch does not have.
OWN_ERRORS = {
    "valid_lens floating": (
        BATCHED, {"valid_lens": torch.ones(2)}, "valid_lens"),
    "valid_lens of another batch": (
        BATCHED, {"valid_lens": integers(3)}, "valid_lens"),
    "valid_lens of another query length": (
        BATCHED, {"valid_lens": integers(2, 5)}, "valid_lens"),
    "unknown causal": (BATCHED, {"causal": 9}, "causal"),
    "unknown masked_row_policy": (
        BATCHED, {"masked_row_policy": 9}, "masked_row_policy"),
    "query_lengths that do not add up": (
        UNBATCHED, {"query_lengths": [1, 1], "key_lengths": [2, 3]},
        "query_lengths"),
    "negative query_lengths": (
        UNBATCHED, {"query_lengths": [4, -1], "key_lengths": [2, 3]},
        "query_lengths"),
    "key_lengths that do not add up": (
        UNBATCHED, {"query_lengths": [1, 2], "key_lengths": [2, 4]},
        "key_lengths"),
    "as many query_lengths as key_lengths": (
        UNBATCHED, {"query_lengths": [1, 2], "key_lengths": [5]},
        "key_lengths"),
    "query_lengths of a batched query": (
        BATCHED, {"query_lengths": [1, 2], "key_lengths": [2, 3]}, "query"),
}

CONFIG = {"embed_dim": 8, "num_heads": 2}

# What is wrong about a module: (config, changes to its tensors; None removes).
UPLOAD_ERRORS = {
    "embed_dim 0": (CONFIG | {"embed_dim": 0}, {}),
    "num_heads 0": (CONFIG | {"num_heads": 0}, {}),
    "embed_dim negative": (CONFIG | {"embed_dim": -8}, {}),
    "9 embed_dim not divisible by num_heads": (CONFIG | {"num_heads": 3}, {}),
    "dropout above 1": (CONFIG | {"dropout": 1.5}, {}),
    "kdim 0": (CONFIG | {"kdim": 0}, {}),
    "11 in_proj_weight of another shape": (
        CONFIG, {"in_proj_weight": torch.zeros(24, 9)}),
    "11 in_proj_weight transposed": (
        CONFIG, {"in_proj_weight": torch.zeros(8, 24)}),
    "11 in_proj_bias of another shape": (
        CONFIG, {"in_proj_bias": torch.zeros(8)}),
    "12 in_proj_weight missing": (CONFIG, {"in_proj_weight": None}),
    "12 separate weights missing": (CONFIG | {"kdim": 6}, {}),
    "12 separate weights not expected": (
        CONFIG, {"k_proj_weight": torch.zeros(8, 8)}),
    "15 bias_k without bias_v": (
        CONFIG | {"add_bias_kv": True}, {"bias_k": torch.zeros(1, 1, 8)}),
    "bias_k not expected": (CONFIG, {"bias_k": torch.zeros(1, 1, 8)}),
    "weights of two dtypes": (
        CONFIG, {"out_proj.weight": torch.zeros(8, 8).double()}),
    "weights of integers": (
        CONFIG, {"out_proj.weight": integers(8, 8)}),
}


def make(fields):
    """Fields with random tensors in place of shapes."""
    return {
        name: torch.randn(value) if isinstance(value, tuple) else value
        for name, value in fields.items()
    }


class LiveErrorTest(live.LiveTestCase):
    def setUp(self):
        super().setUp()
        self.modules = {
            False: torch.nn.MultiheadAttention(**CONFIG).eval(),
            True: torch.nn.MultiheadAttention(**CONFIG, kdim=6, vdim=4).eval(),
        }
        self.client.upload("same", CONFIG, self.modules[False].state_dict())
        self.client.upload(
            "separate",
            CONFIG | {"kdim": 6, "vdim": 4},
            self.modules[True].state_dict(),
        )

    def assert_invalid(self, call, word=""):
        """`call` fails with INVALID_ARGUMENT and a text that has the word."""
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        status = raised.exception
        self.assertEqual(
            status.code(), grpc.StatusCode.INVALID_ARGUMENT, status.details()
        )
        self.assertIn(word, status.details())

    def forward(self, base, fields):
        """What the server is asked for a row of a table."""
        name = "separate" if base is SEPARATE else "same"
        return lambda: self.client.forward(name, **fields)

    def test_refuses_what_torch_refuses(self):
        for what, (base, change, word) in TORCH_ERRORS.items():
            with self.subTest(what):
                fields = make(base | change)
                with self.assertRaises((AssertionError, RuntimeError)):
                    judge.forward(self.modules[base is SEPARATE], fields)

                self.assert_invalid(self.forward(base, fields), word)

    def test_refuses_impossible_values_of_its_own_fields(self):
        for what, (base, change, word) in OWN_ERRORS.items():
            with self.subTest(what):
                fields = make(base | change)

                self.assert_invalid(self.forward(base, fields), word)

    def test_accepts_the_inputs_the_tables_start_from(self):
        for base in (BATCHED, UNBATCHED, SEPARATE):
            answer = self.forward(base, make(base))()

            self.assertEqual(answer.output.shape, base["query"])

    def test_refuses_impossible_modules(self):
        weights = self.modules[False].state_dict()
        for what, (config, changes) in UPLOAD_ERRORS.items():
            with self.subTest(what):
                tensors = {
                    name: tensor
                    for name, tensor in (dict(weights) | changes).items()
                    if tensor is not None
                }

                self.assert_invalid(
                    lambda: self.client.upload("bad", config, tensors)
                )

    def test_refused_module_is_not_served(self):
        bad = CONFIG | {"num_heads": 3}
        weights = self.modules[False].state_dict()
        self.assert_invalid(lambda: self.client.upload("bad", bad, weights))

        with self.assertRaises(grpc.RpcError) as raised:
            self.client.forward("bad", query=torch.randn(3, 8))

        self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)


if __name__ == "__main__":
    live.main()
