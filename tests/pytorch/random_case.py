# SPDX-License-Identifier: Apache-2.0
"""Random modules and inputs for the live differential test."""

import random

import torch

import judge

_DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
_MASK_KINDS = ["none", "bool 2-D", "bool 3-D", "float 2-D", "float 3-D"]
_MAX_SCORES = 1_000_000  # N * H * L * S
_MAX_PROJECTION = 200_000_000  # multiplications of one projection


class RandomCase:
    """Module and inputs number `index` of `seed`.

    `config` are the arguments of torch.nn.MultiheadAttention, `module` the
    module, `inputs` those of its forward; an absent key or value is the query
    or the key, as on the wire.
    """

    def __init__(self, seed, index):
        self._random = random.Random(f"{seed}/{index}")
        torch.manual_seed(self._random.getrandbits(63))
        self.config = self._draw_config()
        self.module = self._draw_module()
        self.inputs = self._draw_inputs()

    def describe(self):
        """Configuration and inputs in a few lines."""
        lines = [f"MultiheadAttention({self.config})"]
        for name, value in self.inputs.items():
            if torch.is_tensor(value):
                value = f"{value.dtype} {tuple(value.shape)}"
            lines.append(f"  {name}: {value}")
        return "\n".join(lines)

    # Configuration

    def _chance(self, probability):
        return self._random.random() < probability

    def _draw_config(self):
        embed_dim, num_heads = self._draw_width()
        config = {
            "embed_dim": embed_dim,
            "num_heads": num_heads,
            "dropout": self._random.choice([0.0, 0.0, 0.1, 0.5]),
            "bias": self._chance(0.7),
            "add_bias_kv": self._chance(0.3),
            "add_zero_attn": self._chance(0.3),
            "batch_first": self._chance(0.5),
            "dtype": self._random.choice([*_DTYPES, torch.float32]),
        }
        for name in ("kdim", "vdim"):
            if self._chance(0.35):
                config[name] = self._random.randint(1, 2 * min(embed_dim, 512))
        return config

    def _draw_width(self):
        draw = self._random.random()
        if draw < 0.12:  # one feature per head
            embed_dim = self._random.randint(1, 40)
            return embed_dim, embed_dim
        if draw < 0.14:
            return 1024, self._random.choice([1, 4, 16])
        num_heads = self._random.randint(1, 9)
        largest = 16 if draw < 0.9 else 1024 // num_heads
        return num_heads * self._random.randint(1, largest), num_heads

    def _draw_module(self):
        module = judge.make_module(self.config)
        # As initialised, attention is nearly uniform; sharpen it at times, but
        # not where PyTorch's own 16-bit run would then be too far off to judge.
        gain = self._random.choice([1.0, 1.0, 2.0, 3.0])
        if self.config["dtype"].itemsize == 2:
            gain = 1.0
        for name, parameter in module.named_parameters():
            if "proj_weight" in name:
                bound = gain * parameter.shape[-1] ** -0.5
                parameter.uniform_(-bound, bound)
        return module

    # Inputs

    def _draw_inputs(self):
        self._draw_sizes()
        inputs = self._draw_tensors()
        inputs["average_attn_weights"] = self._chance(0.5)
        if (mask := self._draw_attn_mask()) is not None:
            inputs["attn_mask"] = mask
            inputs["is_causal"] = self._chance(0.45)
            if inputs["is_causal"] and mask.dtype == torch.bool:
                inputs["attn_mask"] = self._sometimes_causal(mask)
        if (mask := self._draw_key_padding_mask()) is not None:
            inputs["key_padding_mask"] = mask
        inputs["need_weights"] = self._chance(0.55)
        if self.batch == 0 or self._num_columns() == 0:
            inputs["need_weights"] = True  # else torch raises for some masks
        return inputs

    def _num_columns(self):
        config = self.config
        return self.keys + config["add_bias_kv"] + config["add_zero_attn"]

    def _draw_sizes(self):
        # batch is None for unbatched inputs.
        config = self.config
        self.batch = None if self._chance(0.2) else self._random.randint(1, 6)
        if self._chance(0.015):
            self.batch = 0
        count = 1 if self.batch is None else self.batch
        width = max(config["embed_dim"], config.get("kdim", 0))
        while True:
            self.queries, self.keys = self._draw_length(), self._draw_length()
            self.self_attention = (
                "kdim" not in config and "vdim" not in config
            ) and self._chance(0.3)
            if self.self_attention:
                self.keys = self.queries
            heads = config["num_heads"]
            scores = count * heads * self.queries * self.keys
            tokens = count * max(self.queries, self.keys)
            projection = tokens * width * config["embed_dim"]
            if scores <= _MAX_SCORES and projection <= _MAX_PROJECTION:
                return

    def _draw_length(self):
        if self._chance(0.03):
            return self._random.choice([0, 300])
        return int(301 ** self._random.random())

    def _draw_tensors(self):
        config, width = self.config, self.config["embed_dim"]
        inputs = {"query": self._normal(self._sequence(self.queries, width))}
        if self.self_attention:
            return inputs
        key_width = config.get("kdim", width)
        value_width = config.get("vdim", width)
        inputs["key"] = self._normal(self._sequence(self.keys, key_width))
        if key_width != value_width or self._chance(0.7):
            shape = self._sequence(self.keys, value_width)
            inputs["value"] = self._normal(shape)
        return inputs

    def _sequence(self, length, width):
        if self.batch is None:
            return (length, width)
        if self.config["batch_first"]:
            return (self.batch, length, width)
        return (length, self.batch, width)

    def _draw_attn_mask(self):
        kind = self._random.choices(_MASK_KINDS, [1, 2, 2, 2, 2])[0]
        if self.batch == 0 and "3-D" in kind:
            kind = "none"  # torch 2.6 raises
        self.mask_kind = kind
        if kind == "none":
            return None
        count = 1 if self.batch is None else self.batch
        shape = (self.queries, self.keys)
        if "3-D" in kind:
            shape = (count * self.config["num_heads"], *shape)
        mask = self._draw_mask(shape, is_bool="bool" in kind)
        if self._chance(0.5):
            rows = self._uniform(mask.shape[:-1]) < 0.3
            mask[rows] = True if mask.dtype == torch.bool else -torch.inf
        return mask

    def _draw_key_padding_mask(self):
        if self.batch == 0 or self._chance(0.45):
            return None
        shape = (self.keys,) if self.batch is None else (self.batch, self.keys)
        mask = self._draw_mask(shape, is_bool=self._chance(0.5))
        if self.batch and self._chance(0.15):
            masked = True if mask.dtype == torch.bool else -torch.inf
            mask[self._random.randrange(self.batch)] = masked
        return mask

    def _draw_mask(self, shape, is_bool):
        hidden = self._uniform(shape) < self._random.choice([0.1, 0.3, 0.7])
        if is_bool:
            return hidden
        return self._normal(shape).masked_fill(hidden, -torch.inf)

    def _sometimes_causal(self, mask):
        # What the hint is meant for; otherwise it contradicts the mask, and
        # the answer shows which of the two was used.
        if self._chance(0.5):
            return torch.ones_like(mask).triu(1)
        return mask

    def _normal(self, shape):
        values = torch.randn(shape, dtype=torch.float64)
        return values.to(self.config["dtype"])

    def _uniform(self, shape):
        return torch.rand(shape)
