# SPDX-License-Identifier: Apache-2.0
"""Random cases of attention that is not torch.nn.MultiheadAttention."""

import torch

import family_masks as masks
import family_modules
import implementations
from family_case import (
    DTYPES_REQUIRED,
    WIDTHS_REQUIRED,
    FamilyCase,
    at_least,
    rename,
    store,
)


def add_weights(case):
    """Ask for weights or not."""
    wanted = case.even("weights", ["none", "averaged", "per head"])
    if wanted != "none":
        case.inputs["need_weights"] = True
        if wanted == "per head" or case.chance(0.5):
            case.inputs["average_attn_weights"] = wanted == "averaged"


WEIGHTS_REQUIRED = at_least(30, "none", "averaged", "per head")


def returned(weights, inputs):
    """Those of weights (N, H, L, S) that a request asks for."""
    if not inputs.get("need_weights"):
        return None
    averaged = inputs.get("average_attn_weights", True)
    return weights.mean(1) if averaged else weights


class D2lAttentionCase(FamilyCase):
    """d2l.MultiHeadAttention."""

    family = "d2l-attention"
    kind = "d2l_multi_head_attention"
    required = {
        "dtype": DTYPES_REQUIRED,
        "E": WIDTHS_REQUIRED,
        "bias": at_least(30, True, False),
        "key and value": at_least(30, "given", "key given", "absent"),
        "query_size": at_least(30, "default", "given"),
        "key_size": at_least(30, "default", "given"),
        "value_size": at_least(30, "default", "given"),
        "valid_lens": at_least(30, "none", "(N)", "(N, L)"),
        "a length of 0": {True: 30},
        "a length beyond the keys": {True: 30},
        "weights": WEIGHTS_REQUIRED,
        "weights_prefix": at_least(30, "", "model.attention."),
        "H equals E": {True: 10},
    }

    def draw(self):
        width, heads = self.width()
        self.features["H equals E"] = width == heads
        sizes = self._draw_sizes(width)
        bias = self.even("bias", [True, False])
        self.config = {"num_hiddens": width, "num_heads": heads}
        if bias or self.chance(0.5):
            self.config["bias"] = bias
        for name, size in zip(("query_size", "key_size", "value_size"), sizes):
            self.features[name] = "default" if size == width else "given"
            if size != width or self.chance(0.3):
                self.config[name] = size
        self.config |= self.config_dtype()
        module = family_modules.D2lAttention(sizes, width, heads, bias)
        gain = self.random.choice([1.0, 2.0, 3.0])
        self.module = family_modules.randomise(module, gain).to(self.dtype)
        store(self, self.module.state_dict())
        self._draw_inputs(sizes)
        add_weights(self)

    def _draw_sizes(self, width):
        sent = self.even(
            "key and value", ["given", "given", "key given", "absent"]
        )
        sizes = [self._draw_size(width) for _ in range(3)]
        if sent == "absent":
            sizes[1] = sizes[0]
        if sent != "given":
            sizes[2] = sizes[1]
        return sizes

    def _draw_size(self, width):
        return width if self.chance(0.4) else self.size(512)

    def _draw_inputs(self, sizes):
        sent = self.features["key and value"]
        count = self.size(5)
        queries, keys = self.length(), self.length()
        self.inputs = {"query": self.normal(count, queries, sizes[0])}
        if sent == "absent":
            keys = queries
        else:
            self.inputs["key"] = self.normal(count, keys, sizes[1])
        if sent == "given":
            self.inputs["value"] = self.normal(count, keys, sizes[2])
        add_d2l_valid_lens(self, (count, queries, keys))

    def expected(self, module, inputs):
        return d2l_expected(module, inputs)


class D2lDotProductCase(FamilyCase):
    """d2l.DotProductAttention."""

    family = "d2l-dot-product"
    kind = "d2l_dot_product_attention"
    required = {
        "dtype": DTYPES_REQUIRED,
        "value_size": at_least(30, "default", "given"),
        "key and value": at_least(30, "given", "key given", "absent"),
        "keys": {"thousands": 5},
        "valid_lens": at_least(30, "none", "(N)", "(N, L)"),
        "a length of 0": {True: 30},
        "a length beyond the keys": {True: 30},
        "weights": WEIGHTS_REQUIRED,
    }

    @property
    def implementation(self):
        return implementations.ONEDNN  # it has no weights, so none of float64

    def draw(self):
        query_size = value_size = self.size(512)
        sent = self.even(
            "key and value", ["given", "given", "key given", "absent"]
        )
        if sent == "given":
            value_size = self.size(512)
        self.config = {"query_size": query_size}
        is_default = value_size == query_size and self.chance(0.7)
        self.features["value_size"] = "default" if is_default else "given"
        if not is_default:
            self.config["value_size"] = value_size
        self.module = family_modules.D2lDotProductAttention()
        self.tensors = {}
        self._draw_inputs(query_size, value_size)
        add_weights(self)

    def _draw_inputs(self, query_size, value_size):
        sent = self.features["key and value"]
        count = self.size(5)
        queries, keys = self.length(), self.length()
        if self.even("keys", ["some"] * 24 + ["thousands"]) == "thousands":
            keys = self.random.randint(2000, 9000)
        self.inputs = {"query": self.normal(count, queries, query_size)}
        if sent == "absent":
            keys = queries
            self.features["keys"] = "some"
        else:
            self.inputs["key"] = self.normal(count, keys, query_size)
        if sent == "given":
            self.inputs["value"] = self.normal(count, keys, value_size)
        add_d2l_valid_lens(self, (count, queries, keys))

    def expected(self, module, inputs):
        return d2l_expected(module, inputs)


def d2l_expected(module, inputs):
    """What d2l's attention makes of a request."""
    query = inputs["query"]
    key = inputs.get("key", query)
    value = inputs.get("value", key)
    output, weights = module(query, key, value, inputs.get("valid_lens"))
    return output, returned(weights, inputs)


def add_d2l_valid_lens(case, sizes):
    """Draw valid_lens for `sizes` = (N, L, S)."""
    count, queries, keys = sizes
    kind = case.even("valid_lens", ["none", "(N)", "(N, L)"])
    if kind == "none":
        return
    shape = (count,) if kind == "(N)" else (count, queries)
    lens = masks.draw_valid_lens(case, shape, keys)
    if keys and case.chance(0.3):
        lens[torch.rand(shape) < 0.5] = 0
    case.inputs["valid_lens"] = lens
    case.features["a length of 0"] = bool(keys and (lens == 0).any())
    case.features["a length beyond the keys"] = bool((lens > keys).any())


_LAYOUTS = ["batch first", "sequence first", "unbatched"]
# Names of query, key, value and output in modules written by hand.
_NAMES = [
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q", "k", "v", "out"),
    ("query", "key", "value", "output"),
    ("W_query", "W_key", "W_value", "W_out"),
    ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
]


class HandWrittenAttentionCase(FamilyCase):
    """A single head without output projection, or heads between four linear
    layers of any names; matrices may be stored (in, out)."""

    family = "hand-written-attention"
    kind = "multi_head_attention"
    required = {
        "dtype": DTYPES_REQUIRED,
        "E": WIDTHS_REQUIRED,
        "form": at_least(60, "single head", "multi-head"),
        "bias": at_least(30, True, False),
        "names": at_least(30, *(names[0] for names in _NAMES)),
        "transposed": at_least(60, True, False),
        "matrices without a name of their own": {True: 10},
        "weights_prefix": at_least(30, "", "model.attention."),
        "layout": at_least(30, *_LAYOUTS),
        "input widths": at_least(30, "one", "each its own"),
        "attn_mask": at_least(30, *masks.ATTN_MASKS),
        "key_padding_mask": at_least(30, "none", "bool", "float"),
        "valid_lens": at_least(30, "none", "(N)", "(N, L)"),
        "causal": at_least(30, *masks.CAUSALS),
        "weights": WEIGHTS_REQUIRED,
        "masked_row_policy": at_least(30, *masks.POLICIES),
        "a fully masked row": {True: 60},
    }

    def draw(self):
        self._draw_module()
        self._draw_layout()
        self._draw_masks()
        add_weights(self)
        policy = self.even("masked_row_policy", list(masks.POLICIES))
        self.inputs["masked_row_policy"] = masks.POLICIES[policy]
        mask = masks.dense_mask(self.inputs, self.shape, torch.float64)
        self.features["a fully masked row"] = masks.has_blind_row(mask)

    def _draw_module(self):
        form = self.even("form", ["single head", "multi-head"])
        single = form == "single head"
        width, heads = self.width()
        heads = 1 if single else heads
        widths = self.even("input widths", ["one", "one", "each its own"])
        if widths == "one":
            sizes = (self.size(512),) * 3
        else:
            sizes = tuple(self.size(512) for _ in range(3))
        bias = self.even("bias", [True, False])
        module = family_modules.HandWrittenAttention(
            sizes, width, heads, bias, output_projection=not single
        )
        gain = self.random.choice([1.0, 2.0, 3.0])
        self.module = family_modules.randomise(module, gain).to(self.dtype)
        self.config = {
            "embed_dim": width,
            "num_heads": heads,
            "bias": bias,
            "query_dim": sizes[0],
            "kdim": sizes[1],
            "vdim": sizes[2],
            "separate_projections": True,
            "output_projection": not single,
        }
        self.config |= self.config_dtype()
        self._store(bias, single)

    def _store(self, bias, single):
        names = self.even("names", _NAMES)
        self.features["names"] = names[0]
        transposed = self.even("transposed", [True, False, False])
        # As nn.Parameter(in, out), used as x @ W.
        bare = transposed and not bias
        self.features["matrices without a name of their own"] = bare
        suffix = ".weight" if bare else ""
        renamed = {
            own + suffix: other
            for own, other in zip(_NAMES[0], names[: 3 if single else 4])
            if own + suffix != other
        }
        state = rename(self.module.state_dict(), renamed)
        store(self, state, renamed, transposed)

    def _draw_layout(self):
        layout = self.even("layout", ["batch first", *_LAYOUTS])
        self.config["batch_first"] = layout == "batch first"
        count = 1 if layout == "unbatched" else self.size(5)
        queries, keys = self.length(), self.length()
        sizes = [self.config[name] for name in ("query_dim", "kdim", "vdim")]
        is_one = self.features["input widths"] == "one"
        is_self_attention = is_one and self.chance(0.5)
        if is_self_attention:
            keys = queries
        self.shape = (count, self.config["num_heads"], queries, keys)
        self.inputs = {"query": self._sequences(count, queries, sizes[0])}
        if not is_self_attention:
            self.inputs["key"] = self._sequences(count, keys, sizes[1])
            if not is_one or self.chance(0.5):
                self.inputs["value"] = self._sequences(count, keys, sizes[2])

    def _sequences(self, count, length, width):
        return self._as_sent(self.normal(count, length, width))

    def _as_sent(self, tensor):
        """(N, L, width) in the layout of the case; its own inverse but for
        unbatched tensors."""
        layout = self.features["layout"]
        if layout == "sequence first":
            return tensor.transpose(0, 1)
        return tensor.squeeze(0) if layout == "unbatched" else tensor

    def _as_computed(self, tensor):
        if self.features["layout"] == "unbatched":
            return tensor.unsqueeze(0)
        return self._as_sent(tensor)

    def _draw_masks(self):
        count, heads, queries, keys = self.shape
        unbatched = self.features["layout"] == "unbatched"
        kind = self.even("attn_mask", masks.ATTN_MASKS)
        shape = (queries, keys)
        if "3-D" in kind:
            shape = (count * heads, *shape)
        self.inputs["attn_mask"] = masks.draw_attn_mask(self, kind, shape)
        kind = self.even("key_padding_mask", masks.PADDING_MASKS)
        shape = (keys,) if unbatched else (count, keys)
        mask = masks.draw_padding_mask(self, kind, shape)
        self.inputs["key_padding_mask"] = mask
        kind = self.even("valid_lens", masks.VALID_LENS)
        if kind != "none":
            shape = (count,) if kind == "(N)" else (count, queries)
            lens = masks.draw_valid_lens(self, shape, keys)
            self.inputs["valid_lens"] = lens
        causal = self.even("causal", ["none", *masks.CAUSALS])
        self.inputs["causal"] = masks.CAUSALS[causal]

    def expected(self, module, inputs):
        query = inputs["query"]
        key = inputs.get("key", query)
        value = inputs.get("value", key)
        mask = masks.dense_mask(inputs, self.shape, query.dtype)
        policy = self.features["masked_row_policy"]
        need_weights = inputs.get("need_weights", False)
        is_nan = policy == "nan" or (policy == "torch" and need_weights)
        output, weights = module(
            *(self._as_computed(tensor) for tensor in (query, key, value)),
            mask,
            blind_weight=torch.nan if is_nan else 0.0,
        )
        weights = returned(weights, inputs)
        if weights is not None and self.features["layout"] == "unbatched":
            weights = weights.squeeze(0)
        return self._as_sent(output), weights
