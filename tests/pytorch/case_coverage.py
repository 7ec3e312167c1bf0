# SPDX-License-Identifier: Apache-2.0
"""What a run of random cases has covered, and what it must cover."""

import collections

import torch

# The fewest cases for each value of a parameter, in the order of the table.
REQUIRED = {
    "dtype": {"float32": 60, "float64": 60, "float16": 60, "bfloat16": 60},
    "batched": {True: 50, False: 50},
    "batch_first": {True: 50, False: 50},
    "bias": {True: 50, False: 50},
    "add_bias_kv": {True: 50, False: 50},
    "add_zero_attn": {True: 50, False: 50},
    "kdim": {"default": 50, "given": 50},
    "vdim": {"default": 50, "given": 50},
    "dropout, in eval mode": {"zero": 50, "positive": 50},
    "key and value": {"given": 50, "key given": 50, "absent": 30},
    "need_weights": {True: 50, False: 50},
    "average_attn_weights": {True: 50, False: 50},
    "attn_mask": {
        "none": 50,
        "bool 2-D": 50,
        "bool 3-D": 50,
        "float 2-D": 50,
        "float 3-D": 50,
    },
    "key_padding_mask": {"none": 50, "bool": 50, "float": 50},
    "is_causal": {"hint": 50, "replaces attn_mask": 50, False: 50},
    "both masks": {True: 100},
    "fully masked rows": {"with weights": 50, "without weights": 50},
    "E": {"1": 3, "2 to 64": 200, "65 to 512": 50, "513 to 1024": 10},
    "H": {"odd": 50, "even": 50},
    "H equals E": {True: 50},
    "L": {"0": 3, "1 to 64": 100, "65 to 300": 50},
    "S": {"0": 3, "1 to 64": 100, "65 to 300": 50},
    "neither L nor S a multiple of 16": {True: 500},
    "N": {"0": 3, "1": 50, "more": 50},
}


def features_of(case):
    """The values of one case, by parameter of REQUIRED."""
    config, inputs = case.config, case.inputs
    wants_weights = inputs["need_weights"]
    features = {
        "dtype": str(config["dtype"]).removeprefix("torch."),
        "batched": case.batch is not None,
        "kdim": _given("kdim" in config),
        "vdim": _given("vdim" in config),
        "dropout, in eval mode": "positive" if config["dropout"] else "zero",
        "key and value": _key_and_value(inputs),
        "need_weights": wants_weights,
        "attn_mask": case.mask_kind,
        "key_padding_mask": _padding_kind(inputs),
        "is_causal": _is_causal(inputs),
        "both masks": {"attn_mask", "key_padding_mask"} <= inputs.keys(),
        "E": _size(config["embed_dim"], [1, 64, 512, 1024]),
        "H": "odd" if config["num_heads"] % 2 else "even",
        "H equals E": config["num_heads"] == config["embed_dim"],
        "L": _size(case.queries, [0, 64, 300]),
        "S": _size(case.keys, [0, 64, 300]),
        "neither L nor S a multiple of 16": bool(
            case.queries % 16 and case.keys % 16
        ),
        "N": {None: "1", 0: "0", 1: "1"}.get(case.batch, "more"),
    }
    for name in ("batch_first", "bias", "add_bias_kv", "add_zero_attn"):
        features[name] = config[name]
    if wants_weights:
        features["average_attn_weights"] = inputs["average_attn_weights"]
    if _has_fully_masked_row(case):
        features["fully masked rows"] = (
            "with weights" if wants_weights else "without weights"
        )
    return features


class Coverage:
    """Counts the cases seen for each value of the parameters of `required`."""

    def __init__(self, required=None, features=features_of):
        self._required = REQUIRED if required is None else required
        self._features_of = features
        self._counts = collections.Counter()
        self.num_cases = 0

    def add(self, case):
        self._counts.update(self._features_of(case).items())
        self.num_cases += 1

    def print_table(self):
        """Print each value with its count and minimum; returns the names of
        those that fall short."""
        short = []
        print(f"{'parameter':<34}{'value':<22}{'cases':>6}{'needed':>8}")
        for parameter, values in self._required.items():
            for value, needed in values.items():
                count = self._counts[parameter, value]
                enough = count >= needed
                mark = "" if enough else "  too few"
                print(f"{parameter:<34}{value!s:<22}{count:>6}{needed:>8}{mark}")
                if not enough:
                    short.append(f"{parameter} = {value}")
        return short


def _given(is_given):
    return "given" if is_given else "default"


def _key_and_value(inputs):
    if "key" not in inputs:
        return "absent"
    return "given" if "value" in inputs else "key given"


def _padding_kind(inputs):
    if "key_padding_mask" not in inputs:
        return "none"
    return "bool" if inputs["key_padding_mask"].dtype == torch.bool else "float"


def _is_causal(inputs):
    if not inputs.get("is_causal", False):
        return False
    is_used = "key_padding_mask" not in inputs and not inputs["need_weights"]
    return "replaces attn_mask" if is_used else "hint"


def _size(size, bounds):
    """The range of `size` among those that end at each bound."""
    lower = bounds[0]
    for bound in bounds:
        if size <= bound:
            return str(bound) if lower == bound else f"{lower} to {bound}"
        lower = bound + 1
    raise ValueError(f"{size} is beyond {bounds[-1]}")


def _has_fully_masked_row(case):
    config, inputs = case.config, case.inputs
    if config["add_bias_kv"] or config["add_zero_attn"] or not case.keys:
        return False
    if _is_causal(inputs) == "replaces attn_mask":
        return False
    count = 1 if case.batch is None else case.batch
    shape = (count, config["num_heads"], case.queries, case.keys)
    hidden = torch.zeros(shape, dtype=torch.bool)
    if "attn_mask" in inputs:
        mask = _hidden(inputs["attn_mask"])
        hidden |= mask.view(shape) if mask.dim() == 3 else mask
    if "key_padding_mask" in inputs:
        mask = _hidden(inputs["key_padding_mask"])
        hidden |= mask.view(count, 1, 1, case.keys)
    return bool(hidden.all(-1).any())


def _hidden(mask):
    return mask if mask.dtype == torch.bool else mask == -torch.inf
