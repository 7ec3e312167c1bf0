# SPDX-License-Identifier: Apache-2.0
"""Random cases of torch.nn.functional.scaled_dot_product_attention."""

import torch
from torch.nn import functional

import family_masks as masks
import family_modules
import implementations
from family_attention import WEIGHTS_REQUIRED, add_weights, returned
from family_case import DTYPES_REQUIRED, FamilyCase, at_least

_ATTN_MASKS = [*masks.ATTN_MASKS, "bool 4-D", "float 4-D"]
_MASKS = ["attn_mask", "key_padding_mask", "valid_lens", "causal"]
_ALONE = [None, None, None, None, "attn_mask", "attn_mask", "causal"]
_LAYOUTS = ["heads apart", "heads side by side", "unbatched"]


class ScaledDotProductAttention(torch.nn.Module):
    """PyTorch's function on (N, H, L, D), as a module."""

    def __init__(self, scale, grouped):
        super().__init__()
        self.scale, self.grouped = scale, grouped

    def forward(self, query, key, value, masking):
        return functional.scaled_dot_product_attention(
            query,
            key,
            value,
            scale=self.scale,
            enable_gqa=self.grouped,
            **masking,
        )

    def weights(self, query, key, masking):
        """The weights: what they make of the rows of the identity."""
        shape = (*key.shape[:3], key.shape[2])
        value = torch.eye(key.shape[2], dtype=key.dtype).expand(shape)
        return self(query, key, value, masking)


class ScaledDotProductAttentionCase(FamilyCase):
    """torch.nn.functional.scaled_dot_product_attention."""

    family = "scaled-dot-product-attention"
    kind = "scaled_dot_product_attention"
    count = 400
    required = {
        "dtype": DTYPES_REQUIRED,
        "layout": at_least(30, *_LAYOUTS),
        "key and value heads": at_least(30, "as many", "groups", "one"),
        "value head size": at_least(30, "default", "given"),
        "scale": at_least(30, "default", "positive", "negative"),
        "key and value": {"given": 30, "key given": 30, "absent": 10},
        "keys": {"thousands": 10},
        "attn_mask": at_least(30, *_ATTN_MASKS),
        "4-D mask is broadcast": at_least(20, True),
        "key_padding_mask": at_least(30, "none", "bool", "float"),
        "valid_lens": at_least(30, "none", "(N)", "(N, L)"),
        "causal": at_least(30, *masks.CAUSALS),
        "masking": at_least(30, "one bool mask", "one float mask", "several")
        | at_least(10, "none", "top left alone", "bottom right alone"),
        "weights": WEIGHTS_REQUIRED,
        "masked_row_policy": at_least(30, *masks.POLICIES),
        "a fully masked row": {True: 60},
    }

    @property
    def implementation(self):
        return implementations.ONEDNN  # it has no weights, so none of float64

    def draw(self):
        self._draw_config()
        self._draw_tensors()
        self._draw_masks()
        if self.features["keys"] == "some":  # weights() is quadratic in them
            add_weights(self)
        policy = self.even("masked_row_policy", list(masks.POLICIES))
        self.inputs["masked_row_policy"] = masks.POLICIES[policy]
        self.features["masking"], _ = self._masking(self.inputs, torch.float64)
        mask = masks.dense_mask(self.inputs, self.shape, torch.float64)
        self.features["a fully masked row"] = masks.has_blind_row(mask)

    def _draw_config(self):
        groups = self.even("key and value heads", ["as many", "groups", "one"])
        kv_heads = 1 if groups == "one" else self.random.randint(1, 4)
        heads = kv_heads
        if groups != "as many":
            heads *= self.random.randint(2, 4)
        self.kv_heads, self.head_dim = kv_heads, self.size(512 // heads)
        self.config = {"num_heads": heads, "head_dim": self.head_dim}
        if kv_heads != heads or self.chance(0.3):
            self.config["num_key_value_heads"] = kv_heads
        self.value_dim = self.head_dim
        if self.even("value head size", ["default", "given"]) == "given":
            self.value_dim = self.size(512 // heads)
            self.config["value_head_dim"] = self.value_dim
        scale = self.even(
            "scale", ["default", "default", "positive", "negative"]
        )
        if scale != "default":
            size = self.random.uniform(0.1, 1.5) * self.head_dim**-0.5
            self.config["scale"] = -size if scale == "negative" else size
        scale = self.config.get("scale")
        self.module = ScaledDotProductAttention(scale, heads != kv_heads)
        self.tensors = {}

    def _draw_tensors(self):
        self.layout = self.even("layout", _LAYOUTS)
        heads = self.config["num_heads"]
        count = 1 if self.layout == "unbatched" else self.size(4)
        queries, keys = self.length(), self.length()
        if self.even("keys", ["some"] * 24 + ["thousands"]) == "thousands":
            count, queries = 1, self.size(20)
            keys = self.random.randint(2000, 9000)
        sent = "given"
        if self.value_dim == self.head_dim and self.chance(0.6):
            sent = "key given"
            may_be_absent = self.kv_heads == heads and keys < 1000
            if may_be_absent and self.chance(0.7):
                sent, keys = "absent", queries
        self.features["key and value"] = sent
        self.shape = (count, heads, queries, keys)
        query = self.normal(count, heads, queries, self.head_dim)
        self.inputs = {"query": self._as_sent(query)}
        if sent != "absent":
            key = self.normal(count, self.kv_heads, keys, self.head_dim)
            self.inputs["key"] = self._as_sent(key)
        if sent == "given":
            value = self.normal(count, self.kv_heads, keys, self.value_dim)
            self.inputs["value"] = self._as_sent(value)

    def _as_sent(self, tensor):
        """(N, H, L, D) in the layout of the case."""
        if self.layout == "heads apart":
            return tensor
        joined = family_modules.join_heads(tensor)
        return joined.squeeze(0) if self.layout == "unbatched" else joined

    def _as_computed(self, tensor, num_heads):
        """The inverse of _as_sent."""
        if self.layout == "heads apart":
            return tensor
        if self.layout == "unbatched":
            tensor = tensor.unsqueeze(0)
        return family_modules.split_heads(tensor, num_heads)

    def _draw_masks(self):
        count, heads, queries, keys = self.shape
        unbatched = self.layout == "unbatched"
        # Often one mask alone, which PyTorch takes as it is.
        self.alone = self.even("alone", _ALONE)
        kind = self._mask_kind("attn_mask", _ATTN_MASKS)
        shape = {
            "2-D": (queries, keys),
            "3-D": (count * heads, queries, keys),
            "4-D": self._draw_broadcast_shape(),
        }.get(kind[-3:])
        self.features["4-D mask is broadcast"] = (
            "4-D" in kind and shape != self.shape
        )
        self.inputs["attn_mask"] = masks.draw_attn_mask(self, kind, shape)
        kind = self._mask_kind("key_padding_mask", masks.PADDING_MASKS)
        shape = (keys,) if unbatched else (count, keys)
        mask = masks.draw_padding_mask(self, kind, shape)
        self.inputs["key_padding_mask"] = mask
        kind = self._mask_kind("valid_lens", masks.VALID_LENS)
        if kind != "none":
            shape = (count,) if kind == "(N)" else (count, queries)
            lens = masks.draw_valid_lens(self, shape, keys)
            self.inputs["valid_lens"] = lens
        causal = self._mask_kind("causal", ["none", *masks.CAUSALS])
        self.inputs["causal"] = masks.CAUSALS[causal]

    def _mask_kind(self, name, kinds):
        kind = self.even(name, kinds)
        if self.alone not in (None, name):
            kind = "none"
        self.features[name] = kind
        return kind

    def _draw_broadcast_shape(self):
        leading = [1 if self.chance(0.5) else size for size in self.shape[:3]]
        return (*leading, self.shape[3])

    def _masking(self, inputs, dtype):
        """Arguments of PyTorch's function that mean the masks of a request: as
        they are where it has such arguments, else as one float mask."""
        given = [
            name
            for name in _MASKS
            if self.features[name] != "none"
        ]
        if not given:
            return "none", {}
        if given == ["causal"]:
            return self._causal_masking()
        if given == ["attn_mask"]:
            mask = inputs["attn_mask"]
            mask = mask.view(self.shape) if mask.dim() == 3 else mask
            if mask.dtype == torch.bool:
                return "one bool mask", {"attn_mask": ~mask}
            return "one float mask", {"attn_mask": mask}
        mask = masks.dense_mask(inputs, self.shape, dtype)
        return "several", {"attn_mask": mask}

    def _causal_masking(self):
        name = f"{self.features['causal']} alone"
        is_top_left = self.features["causal"] == "top left"
        # torch 2.6 scales after its own causal mask: -inf * scale is then inf.
        if is_top_left and self.features["scale"] != "negative":
            return name, {"is_causal": True}
        queries, keys = self.shape[2:]
        visible = torch.ones(queries, keys, dtype=torch.bool)
        visible = visible.tril(0 if is_top_left else keys - queries)
        return name, {"attn_mask": visible}

    def expected(self, module, inputs):
        query = inputs["query"]
        key = inputs.get("key", query)
        value = inputs.get("value", key)
        query = self._as_computed(query, self.config["num_heads"])
        key = self._as_computed(key, self.kv_heads)
        value = self._as_computed(value, self.kv_heads)
        _, masking = self._masking(inputs, query.dtype)
        output = module(query, key, value, masking)
        mask = masks.dense_mask(inputs, self.shape, query.dtype)
        blind = (mask == -torch.inf).all(-1, keepdim=True)
        is_nan = self.features["masked_row_policy"] == "nan"
        blind &= is_nan and self.shape[-1] > 0
        output = self._as_sent(output.masked_fill(blind, torch.nan))
        if not inputs.get("need_weights"):
            return output, None
        weights = module.weights(query, key, masking)
        weights = returned(weights.masked_fill(blind, torch.nan), inputs)
        if self.layout == "unbatched":
            weights = weights.squeeze(0)
        return output, weights
