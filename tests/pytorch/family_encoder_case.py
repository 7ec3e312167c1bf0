# SPDX-License-Identifier: Apache-2.0
"""What random cases of encoders share: their layouts, masks and arguments."""

import torch

import family_masks as masks
from family_case import FamilyCase, at_least

ACTIVATIONS = {"relu": "ACTIVATION_RELU", "gelu": "ACTIVATION_GELU"}
LAYOUTS = ["batch first", "sequence first", "unbatched", "packed"]
# Wide enough for a norm to be well conditioned: it divides by the standard
# deviation, and few features are at times nearly alike.
_SMALLEST_WIDTH = 8
SIZES_REQUIRED = {
    "E": at_least(10, 257),
    "F": at_least(10, 1, 256, 257, 513),
}


class EncoderCase(FamilyCase):
    """An encoder's inputs; how the module is called is up to the subclass."""

    largest_width = 256
    may_be_narrow = False  # where the epsilon of every norm is large

    def run(self, module, fields):
        """PyTorch's output for fields in the layout of the case, a packed
        sequence being unbatched."""
        raise NotImplementedError

    def expected(self, module, inputs):
        if not inputs["query"].numel():
            return inputs["query"], None  # torch raises for some masks
        if self.features["layout"] != "packed":
            return self.run(module, inputs), None
        outputs, begin = [], 0
        for n, length in enumerate(inputs["query_lengths"]):
            self.first_sequence = n
            fields = self._alone(inputs, n, slice(begin, begin + length))
            empty = fields["query"]
            outputs.append(self.run(module, fields) if length else empty)
            begin += length
        self.first_sequence = 0
        return torch.cat(outputs), None

    def _alone(self, inputs, n, rows):
        """The fields of sequence n of packed rows."""
        length, heads = rows.stop - rows.start, self.num_heads
        fields = dict(inputs, query=inputs["query"][rows])
        if (mask := inputs.get("attn_mask")) is not None:
            mask = mask[..., :length, :length]
            if mask.dim() == 3:
                mask = mask[n * heads : (n + 1) * heads]
            fields["attn_mask"] = mask
        if (mask := inputs.get("key_padding_mask")) is not None:
            fields["key_padding_mask"] = mask[n, :length]
        if (lens := inputs.get("valid_lens")) is not None:
            lens = lens[n : n + 1]
            fields["valid_lens"] = lens[:, :length] if lens.dim() == 2 else lens
        return fields

    # Drawing

    def draw_sizes(self, smallest=_SMALLEST_WIDTH):
        """E, H and F."""
        width = self.even("E", ["any"] * 14 + [257])
        self.num_heads = 1
        if width == "any":
            width, self.num_heads = 0, self.random.randint(1, 6)
        while width < smallest:
            largest = self.largest_width // self.num_heads
            width = self.num_heads * self.size(largest)
        inner_width = self.even("F", ["any"] * 8 + [1, 256, 257, 513])
        if inner_width == "any":
            inner_width = self.size(600)
        return width, self.num_heads, inner_width

    def draw_query(self, width):
        """Set query and the (N, H, L, L) of the masks."""
        layout = self.features["layout"]
        length = max(self.length(), 1 if layout == "packed" else 0)
        count = 1 if layout == "unbatched" else self.size(5)
        shape = (count, length, width)
        self.inputs = {}
        if layout == "sequence first":
            shape = (length, count, width)
        elif layout == "unbatched":
            shape = (length, width)
        elif layout == "packed":
            lengths = [self.random.randint(0, length) for _ in range(count)]
            lengths[self.random.randrange(count)] = length
            self.inputs["query_lengths"] = lengths
            shape = (sum(lengths), width)
        self.inputs["query"] = self.normal(*shape)
        self.shape = (count, self.num_heads, length, length)

    def draw_torch_masks(self):
        """Masks as torch has them, and at times those of the service."""
        count, heads, length, _ = self.shape
        kind = self.even("attn_mask", masks.ATTN_MASKS)
        shape = (length, length)
        if "3-D" in kind:
            shape = (count * heads, length, length)
        mask = masks.draw_attn_mask(self, kind, shape)
        self.inputs["attn_mask"] = mask
        kind = self.even("key_padding_mask", masks.PADDING_MASKS)
        unbatched = self.features["layout"] == "unbatched"
        shape = (length,) if unbatched else (count, length)
        padding = masks.draw_padding_mask(self, kind, shape)
        self.inputs["key_padding_mask"] = padding
        self._draw_own_masks()
        self.features["is_causal"] = self._draw_is_causal()

    def _draw_own_masks(self):
        count, _, length, _ = self.shape
        own = self.even(
            "own masks", ["none", "none", "none", "causal", "(N)", "(N, L)"]
        )
        if own == "causal":
            side = self.random.choice(["top left", "bottom right"])
            self.inputs["causal"] = masks.CAUSALS[side]
        elif own != "none":
            shape = (count,) if own == "(N)" else (count, length)
            lens = masks.draw_valid_lens(self, shape, length)
            self.inputs["valid_lens"] = lens

    def _draw_is_causal(self):
        has_mask = self.inputs["attn_mask"] is not None
        is_own = self.features["own masks"] != "none"
        if not has_mask or is_own or self.chance(0.15):
            return "absent"
        self.inputs["is_causal"] = True
        padded = self.inputs["key_padding_mask"] is not None
        return "hint" if padded else "replaces attn_mask"

    def torch_masks(self, fields, dtype):
        """(mask, key_padding_mask) for torch; masks it lacks are added up."""
        mask, padding = fields["attn_mask"], fields["key_padding_mask"]
        if "causal" not in fields and "valid_lens" not in fields:
            return mask, padding
        count, heads, length, _ = self.shape
        if self.features["layout"] == "packed":
            count, length = 1, fields["query"].shape[0]
        dense = masks.dense_mask(fields, (count, heads, length, length), dtype)
        return dense.flatten(0, 1), None


TORCH_MASKS_REQUIRED = {
    "attn_mask": at_least(30, *masks.ATTN_MASKS),
    "key_padding_mask": at_least(30, "none", "bool", "float"),
    "is_causal": at_least(30, "absent", "hint", "replaces attn_mask"),
    "own masks": at_least(30, "none", "causal", "(N)", "(N, L)"),
}


def draw_torch_layer(case):
    """The arguments of torch.nn.TransformerEncoderLayer; the config follows."""
    eps = case.even("layer_norm_eps", ["default", "default", "small", "large"])
    narrow = case.may_be_narrow and eps == "large"
    smallest = 1 if narrow else _SMALLEST_WIDTH
    width, num_heads, inner_width = case.draw_sizes(smallest)
    if case.chance(0.05):
        inner_width = 2048  # the default
    arguments = {
        "d_model": width,
        "nhead": num_heads,
        "dim_feedforward": inner_width,
        "dropout": 0.0,
        "activation": case.even("activation", list(ACTIVATIONS)),
        "norm_first": case.even("norm_first", [True, False]),
        "bias": case.even("bias", [True, True, False]),
        "batch_first": case.features["layout"] == "batch first",
    }
    if eps != "default":
        arguments["layer_norm_eps"] = 1e-7 if eps == "small" else 0.05
    return arguments


def layer_config(case, arguments):
    """The TransformerEncoderLayerConfig of a layer's arguments; what is the
    default is at times left out."""
    config = dict(arguments, **case.config_dtype())
    config["activation"] = ACTIVATIONS[arguments["activation"]]
    defaults = {
        "dim_feedforward": 2048,
        "activation": "ACTIVATION_RELU",
        "bias": True,
    }
    for name, default in defaults.items():
        if config[name] == default and case.chance(0.5):
            del config[name]
    return config
