# SPDX-License-Identifier: Apache-2.0
"""PyTorch as the judge of an answer.

The reference is the slow path of torch.nn.MultiheadAttention. An answer of a
16-bit module is judged against the same module in float64 on the same 16-bit
weights and inputs: PyTorch's own 16-bit run rounds every intermediate and is
only a second, looser check.
"""

import copy
import warnings

import torch

# The defaults of torch.testing.assert_close, (rtol, atol).
DEFAULT_TOLERANCES = {
    torch.float64: (1e-7, 1e-7),
    torch.float32: (1.3e-6, 1e-5),
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
}
# Against PyTorch's own 16-bit run.
LOOSE_TOLERANCES = {
    torch.float16: (1e-2, 1e-2),
    torch.bfloat16: (5e-2, 5e-2),
}


def configure_torch():
    """Select the reference path, on one thread."""
    torch.backends.mha.set_fastpath_enabled(False)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    # A bool mask with a floating one is deprecated, but has its meaning.
    warnings.filterwarnings("ignore", message="Support for mismatched")


def make_module(config):
    """A module in eval mode. PyTorch initialises biases to 0, which would hide
    any mistake about them, so they are drawn anew."""
    module = torch.nn.MultiheadAttention(**config).eval()
    for name, parameter in module.named_parameters():
        if "bias" in name:
            parameter.normal_(std=0.5)
    return module


def forward(module, inputs):
    """PyTorch's answer; key and value default as on the wire."""
    arguments = dict(inputs)
    query = arguments.pop("query")
    key = arguments.pop("key", None)
    value = arguments.pop("value", None)
    key = query if key is None else key
    value = key if value is None else value
    return module(query, key, value, **arguments)


def widen(module, inputs):
    """The same module and inputs in float64."""
    wide = {
        name: value.double()
        if torch.is_tensor(value) and value.is_floating_point()
        else value
        for name, value in inputs.items()
    }
    return copy.deepcopy(module).double(), wide


def check(answer, module, inputs):
    """Compare an answer with PyTorch's; AssertionError when they differ."""
    dtype = inputs["query"].dtype
    for name, tensor in answer._asdict().items():
        if tensor is not None and tensor.dtype != dtype:
            raise AssertionError(f"{name} is {tensor.dtype}, query {dtype}")
    if dtype in LOOSE_TOLERANCES:
        compare(answer, forward(module, inputs), LOOSE_TOLERANCES[dtype])
        module, inputs = widen(module, inputs)
    compare(answer, forward(module, inputs), DEFAULT_TOLERANCES[dtype])


def assert_close(what, got, want, tolerance=None):
    """Compare tensors of equal shape; NaN equals NaN."""
    rtol, atol = tolerance or DEFAULT_TOLERANCES[got.dtype]
    torch.testing.assert_close(
        got.double(),
        want.double(),
        rtol=rtol,
        atol=atol,
        equal_nan=True,
        msg=lambda text: f"{what}: {text}",
    )


def compare(answer, expected, tolerance):
    """Compare an answer with (output, weights or None)."""
    output, weights = expected
    assert_close("output", answer.output, output, tolerance)
    if (answer.weights is None) != (weights is None):
        raise AssertionError("weights returned by only one of the two")
    if weights is not None:
        assert_close("weights", answer.weights, weights, tolerance)
