# SPDX-License-Identifier: Apache-2.0
"""Mixed precision: dtypes accepted, refused and answered in are PyTorch's."""

import contextlib
import copy
import itertools

import pytest
import torch
from attention_client.torch import (
    RemoteMultiheadAttention,
    RemoteTransformerEncoderLayer,
    offload,
    scaled_dot_product_attention,
)
from torch import nn
from torch.nn import functional as F

E, H, N, L = 16, 4, 3, 5
FLOATING = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
AUTOCAST = [None, torch.bfloat16, torch.float16]
# Errors of 16-bit numbers about 1, rounded again and again by PyTorch.
TOLERANCE = {torch.bfloat16: 16 * 2**-8, torch.float16: 16 * 2**-11}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(71)


def autocast(dtype):
    return torch.autocast("cpu", dtype) if dtype else contextlib.nullcontext()


def outcome(call):
    """Answers as a list; or what is raised."""
    try:
        answer = call()
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        return error
    answers = answer if isinstance(answer, tuple) else (answer,)
    return [each for each in answers if each is not None]


def assert_same_outcome(here, there, case, *, coarse=None):
    """Same dtypes and values, to the tolerance of `coarse`; or the same error."""
    want, got = outcome(here), outcome(there)
    if isinstance(want, Exception):
        assert type(got) is type(want), f"{case}: expected {want!r}, got {got!r}"
        assert str(got) == str(want), case
        return
    assert not isinstance(got, Exception), f"{case}: {got!r}"
    assert [each.dtype for each in got] == [each.dtype for each in want], case
    dtypes = [coarse, *(each.dtype for each in want)]
    allowed = max(TOLERANCE.get(dtype, 0) for dtype in dtypes) or 1e-5
    for one, other in zip(got, want):
        torch.testing.assert_close(
            one, other, rtol=0, atol=allowed, msg=lambda text: f"{case}: {text}"
        )


def offloaded(layer, client):
    return offload(copy.deepcopy(layer), client)


@pytest.mark.parametrize("weights", FLOATING, ids=str)
@torch.no_grad()
def test_attention_takes_the_dtypes_pytorch_takes(client, weights):
    layer = nn.MultiheadAttention(E, H, dtype=weights, batch_first=True).eval()
    remote = offloaded(layer, client)

    for dtype, cast, need, rank in itertools.product(
        FLOATING, AUTOCAST, (False, True), (2, 3)
    ):
        x = torch.rand(N, L, E).to(dtype)[0 if rank == 2 else slice(None)]
        with autocast(cast):
            assert_same_outcome(
                lambda: layer(x, x, x, need_weights=need),
                lambda: remote(x, x, x, need_weights=need),
                (dtype, cast, need, rank),
                coarse=weights,
            )


@torch.no_grad()
def test_inputs_of_several_dtypes_are_taken_under_autocast_alone(client):
    layer = nn.MultiheadAttention(E, H, kdim=6, vdim=6).eval()
    remote = offloaded(layer, client)
    query, key = torch.rand(L, N, E), torch.rand(7, N, 6).bfloat16()

    for cast in AUTOCAST:
        with autocast(cast):
            assert_same_outcome(
                lambda: layer(query, key, key), lambda: remote(query, key, key), cast
            )


@pytest.mark.parametrize("name", ["attn_mask", "key_padding_mask"])
@torch.no_grad()
def test_float_masks_are_of_the_dtypes_pytorch_takes(client, name):
    shape = (L, L) if name == "attn_mask" else (N, L)
    for weights in FLOATING:
        layer = nn.MultiheadAttention(E, H, dtype=weights, batch_first=True).eval()
        remote = offloaded(layer, client)
        x = torch.rand(N, L, E).to(weights)
        for dtype, cast, need in itertools.product(FLOATING, AUTOCAST, (False, True)):
            options = {name: torch.rand(shape).to(dtype), "need_weights": need}
            with autocast(cast):
                assert_same_outcome(
                    lambda: layer(x, x, x, **options),
                    lambda: remote(x, x, x, **options),
                    (weights, dtype, cast, need),
                )


@pytest.mark.parametrize("fast_path", [False, True])
@pytest.mark.parametrize("norms", [None, torch.float32], ids=str)
@pytest.mark.parametrize("weights", FLOATING, ids=str)
def test_an_encoder_layer_takes_and_answers_pytorchs_dtypes(
    client, weights, norms, fast_path
):
    for norm_first in (False, True):
        layer = nn.TransformerEncoderLayer(
            E, H, 32, dtype=weights, batch_first=True, norm_first=norm_first
        ).eval()
        layer.norm1.to(norms)
        layer.norm2.to(norms)
        remote = offloaded(layer, client)
        for dtype, cast, grad in itertools.product(FLOATING, AUTOCAST, (False, True)):
            x = torch.rand(N, L, E).to(dtype)
            torch.backends.mha.set_fastpath_enabled(fast_path)
            try:
                with autocast(cast), torch.set_grad_enabled(grad):
                    assert_same_outcome(
                        lambda: layer(x).detach(),
                        lambda: remote(x),
                        (norm_first, dtype, cast, grad),
                        coarse=cast or weights,
                    )
            finally:
                torch.backends.mha.set_fastpath_enabled(True)


CONVERSIONS = {
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "double": lambda module: module.double(),
    "to(float16)": lambda module: module.to(torch.float16),
    "type": lambda module: module.type(torch.bfloat16),
    "to(device)": lambda module: module.to("cpu"),
    "and back": lambda module: module.double().float(),
    "of a copy": lambda module: copy.deepcopy(module).half(),
}


@pytest.mark.parametrize("conversion", CONVERSIONS)
@torch.no_grad()
def test_a_converted_model_takes_and_answers_the_new_dtype(client, conversion):
    convert = CONVERSIONS[conversion]
    layers = [
        nn.TransformerEncoderLayer(E, H, 32, batch_first=True),
        nn.TransformerEncoderLayer(E, H, 32, batch_first=True, activation=torch.tanh),
    ]
    here = nn.Sequential(*layers, nn.Linear(E, 3)).eval()
    there = convert(offloaded(here, client))
    here = convert(here)

    for dtype in FLOATING:
        x = torch.rand(N, L, E).to(dtype)
        coarse = here[2].weight.dtype
        assert_same_outcome(lambda: here(x), lambda: there(x), dtype, coarse=coarse)
    assert there[0].linear1.weight.dtype == here[2].weight.dtype


@torch.no_grad()
def test_converting_a_copy_leaves_the_original(client):
    remote = offload(nn.MultiheadAttention(E, H), client)
    twin = copy.deepcopy(remote).half()
    x = torch.rand(L, N, E)

    assert twin(x.half(), x.half(), x.half())[0].dtype == torch.float16
    assert remote(x, x, x)[0].dtype == torch.float32
    assert twin.module_name == remote.module_name


@pytest.mark.parametrize("bias", FLOATING, ids=str)
@pytest.mark.parametrize("weights", FLOATING, ids=str)
@torch.no_grad()
def test_parameters_of_several_dtypes_are_served(client, weights, bias):
    layer = nn.MultiheadAttention(E, H, dtype=weights, add_bias_kv=True).eval()
    for name in ("in_proj_bias", "bias_k", "bias_v"):
        parameter = nn.init.uniform_(getattr(layer, name)).to(bias)
        setattr(layer, name, nn.Parameter(parameter))
    remote = offloaded(layer, client)

    for batch_first in (False, True):  # PyTorch's answer depends on the strides.
        x = torch.rand(N, L, E).to(weights)
        x = x.transpose(0, 1) if batch_first else x
        assert_same_outcome(
            lambda: layer(x, x, x), lambda: remote(x, x, x), batch_first, coarse=bias
        )


def test_parameters_of_one_dtype_are_served_under_the_name_they_had(client):
    layer = nn.MultiheadAttention(E, H)

    remote = RemoteMultiheadAttention(layer, client)

    assert "dtype" not in client.modules.get(remote.module_name).config


@torch.no_grad()
def test_a_served_module_of_another_dtype_is_used_by_its_name(client, name):
    layer = nn.TransformerEncoderLayer(E, H, 32, dtype=torch.bfloat16).eval()
    RemoteTransformerEncoderLayer(layer, client, name=name)

    remote = RemoteTransformerEncoderLayer(name, client).eval()

    for dtype in FLOATING:
        x = torch.rand(L, N, E).to(dtype)
        assert_same_outcome(lambda: layer(x), lambda: remote(x), dtype)


@torch.no_grad()
def test_scaled_dot_product_attention_takes_pytorchs_dtypes(client):
    for dtype, mask, cast in itertools.product(FLOATING, [None, *FLOATING], AUTOCAST):
        query, key, value = torch.rand(3, 2, H, L, E).to(dtype)
        options = {"attn_mask": None if mask is None else torch.rand(L, L).to(mask)}
        with autocast(cast):
            assert_same_outcome(
                lambda: F.scaled_dot_product_attention(query, key, value, **options),
                lambda: scaled_dot_product_attention(
                    query, key, value, client=client, **options
                ),
                (dtype, mask, cast),
            )


def test_judging_a_call_draws_no_random_numbers(client):
    layer = nn.TransformerEncoderLayer(E, H, 32, dropout=0.5)
    torch.manual_seed(3)
    want = torch.rand(4)
    torch.manual_seed(3)

    remote = RemoteTransformerEncoderLayer(layer, client).eval()
    remote(torch.rand(L, N, E, generator=torch.Generator().manual_seed(1)))

    assert torch.equal(torch.rand(4), want)
