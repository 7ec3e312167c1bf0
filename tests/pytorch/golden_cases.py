# SPDX-License-Identifier: Apache-2.0
"""The cases of tests/golden/cases.json as PyTorch modules and inputs.

Weights and inputs come from the generator, never from a file: the tensor
called NAME of the i-th case is stream fnv1a32(NAME) of seed i.
tests/golden/golden_case.cc makes the same tensors in C++.
"""

import json
import pathlib

import torch

import philox

GOLDEN_DIR = pathlib.Path(__file__).resolve().parent.parent / "golden"

_MATRICES = {
    "in_proj_weight",
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
    "out_proj.weight",
}


def load_cases():
    """The cases as dictionaries, each with its seed."""
    cases = json.loads((GOLDEN_DIR / "cases.json").read_text())["cases"]
    return [{"seed": seed, **case} for seed, case in enumerate(cases)]


def dtype_of(case):
    """The dtype of the case's weights and inputs."""
    name = case["config"].get("dtype", "DATA_TYPE_FLOAT32")
    return getattr(torch, name.removeprefix("DATA_TYPE_").lower())


def make_module(case):
    """The case's torch.nn.MultiheadAttention with generated weights."""
    config = {**case["config"], "dtype": dtype_of(case)}
    module = torch.nn.MultiheadAttention(**config).eval()
    weights = {}
    for name, parameter in module.state_dict().items():
        scale = _weight_scale(name, parameter.shape[-1])
        weights[name] = _random_tensor(case, name, parameter.shape, scale)
    module.load_state_dict(weights)
    return module


def make_inputs(case):
    """Arguments of the module's forward, by name."""
    inputs = {"query": _random_tensor(case, "query", case["query"])}
    for name, default in (("key", "query"), ("value", "key")):
        inputs[name] = inputs[default]
        if name in case:
            inputs[name] = _random_tensor(case, name, case[name])
    for name in ("attn_mask", "key_padding_mask"):
        if name in case:
            inputs[name] = _make_mask(case, name)
    for name in ("need_weights", "average_attn_weights", "is_causal"):
        if name in case:
            inputs[name] = case[name]
    return inputs


def _weight_scale(name, fan_in):
    # About 4 / sqrt(fan_in), so that attention is far from uniform; a power of
    # two, so that scaling is exact.
    if name in _MATRICES:
        return 2.0 ** (2 - ((fan_in - 1).bit_length() + 1) // 2)
    return 0.5


def _make_mask(case, name):
    spec = case[name]
    shape = tuple(spec["shape"])
    uniform = _random_tensor(case, name, shape, dtype=torch.float32)
    if spec["kind"] == "upper_triangular":
        mask = torch.ones(shape, dtype=torch.bool).triu(1)
    elif spec["kind"] == "bool":
        mask = uniform < -0.25
    else:
        mask = torch.where(uniform < -0.75, -torch.inf, 2.0 * uniform)
        mask = mask.to(dtype_of(case))
    masked = True if mask.dtype == torch.bool else -torch.inf
    mask.view(-1, shape[-1])[spec.get("masked_rows", [])] = masked
    return mask


def _random_tensor(case, name, shape, scale=1.0, dtype=None):
    dtype = dtype or dtype_of(case)
    array = philox.random_array(
        str(dtype).removeprefix("torch."),
        tuple(shape),
        case["seed"],
        _fnv1a32(name),
        scale,
    )
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == torch.bfloat16 else tensor


def _fnv1a32(text):
    digest = 0x811C9DC5
    for byte in text.encode():
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return digest
