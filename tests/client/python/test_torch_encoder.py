# SPDX-License-Identifier: Apache-2.0
"""RemoteTransformerEncoderLayer against torch.nn.TransformerEncoderLayer."""

import copy

import pytest
import torch
from attention_client.torch import (
    RemoteMultiheadAttention,
    RemoteTransformerEncoderLayer,
)
from torch import nn

E, H, F, N, L = 16, 4, 24, 3, 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(51)


def make_pair(client, **options):
    """A layer and its remote twin."""
    layer = nn.TransformerEncoderLayer(E, H, F, **options).eval()
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return layer, RemoteTransformerEncoderLayer(layer, client)


def assert_same(layer, remote, *inputs, **options):
    # Off PyTorch's fast path, which is wrong for float masks.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            want = layer(*inputs, **options)
            got = remote(*inputs, **options)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_first": True},
        {"norm_first": True},
        {"activation": "gelu"},
        {"activation": nn.ReLU()},
        {"activation": nn.GELU()},
        {"bias": False},
        {"layer_norm_eps": 0.1},
        {"dtype": torch.float64},
    ],
    ids=str,
)
def test_answers_as_the_layer_it_is_made_of(client, options):
    layer, remote = make_pair(client, **options)

    assert_same(layer, remote, torch.rand(L, N, E, dtype=options.get("dtype")))


def test_unbatched_input(client):
    layer, remote = make_pair(client)

    assert_same(layer, remote, torch.rand(L, E))


def test_masks_are_true_where_masked(client):
    layer, remote = make_pair(client, batch_first=True)
    x = torch.rand(N, L, E)
    padding = torch.arange(L) >= torch.tensor([[L], [3], [1]])
    mask = torch.rand(L, L) < 0.2
    mask[:, 0] = False

    assert_same(layer, remote, x, src_key_padding_mask=padding)
    assert_same(layer, remote, x, src_mask=mask, src_key_padding_mask=padding)
    assert_same(layer, remote, x, src_mask=torch.rand(L, L))
    assert_same(layer, remote, x, src_mask=torch.rand(N * H, L, L) < 0.2)
    assert_same(layer, remote, x, src_mask=mask, is_causal=True)


def bad_calls():
    x = torch.rand(L, N, E)
    return {
        "width": ((x[..., 1:],), {}),
        "dimensions": ((x[None],), {}),
        "dtype": ((x.double(),), {}),
        "mask": ((x, torch.zeros(L, L + 1)), {}),
        "padding": ((x,), {"src_key_padding_mask": torch.zeros(L, N + 1) > 0}),
        "hint without mask": ((x,), {"is_causal": True}),
    }


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("case", bad_calls())
def test_raises_what_the_layer_raises(client, case, norm_first):
    layer, remote = make_pair(client, norm_first=norm_first)
    inputs, options = bad_calls()[case]

    with pytest.raises((AssertionError, RuntimeError)) as want:
        layer(*inputs, **options)
    with pytest.raises((AssertionError, RuntimeError)) as got:
        remote(*inputs, **options)

    assert got.type is want.type


def test_a_gradient_is_refused_when_it_is_asked_for(client):
    _, remote = make_pair(client)
    x = torch.rand(L, N, E, requires_grad=True)

    with pytest.raises(RuntimeError, match="inference only"):
        remote(x).sum().backward()


def test_dropout_is_applied_in_train_mode_only(client):
    layer, remote = make_pair(client, dropout=0.5)
    x = torch.rand(L, N, E)

    assert_same(layer, remote, x)
    remote.train()
    torch.manual_seed(1)
    first = remote(x)
    torch.manual_seed(1)
    again = remote(x)

    assert torch.equal(first, again)
    assert not torch.allclose(first, layer(x))


def changed_layers():
    """Layers their constructor cannot make, and what is wrong with them."""
    layer = nn.TransformerEncoderLayer(E, H, F)
    changes = {
        "activation": lambda each: setattr(each, "activation", torch.tanh),
        "norms": lambda each: setattr(each.norm2, "eps", 0.5),
        "dropout": lambda each: setattr(each.dropout1, "p", 0.5),
        "parameters": lambda each: setattr(each, "norm1", nn.LayerNorm(E, bias=False)),
    }
    for what, change in changes.items():
        changed = copy.deepcopy(layer)
        change(changed)
        yield what, changed


@pytest.mark.parametrize(("what", "layer"), changed_layers())
def test_a_layer_the_service_cannot_compute_is_refused(client, what, layer):
    with pytest.raises(ValueError, match=f"cannot be served: {what}"):
        RemoteTransformerEncoderLayer(layer, client)


def test_a_served_module_is_used_by_its_name(client, name):
    options = {"activation": "gelu", "norm_first": True, "batch_first": True}
    layer, _ = make_pair(client, **options)
    RemoteTransformerEncoderLayer(layer, client, name=name)

    remote = RemoteTransformerEncoderLayer(name, client).eval()

    assert_same(layer, remote, torch.rand(N, L, E))


def test_a_module_of_another_kind_is_refused(client, name):
    RemoteMultiheadAttention(nn.MultiheadAttention(E, H), client, name=name)

    with pytest.raises(ValueError, match="expected the kind transformer_encoder_layer"):
        RemoteTransformerEncoderLayer(name, client)


def test_has_the_attributes_containers_read(client):
    layer, remote = make_pair(client, batch_first=True)

    for owner in ("self_attn",):
        got, want = getattr(remote, owner), getattr(layer, owner)
        for attribute in ("batch_first", "num_heads", "_qkv_same_embed_dim"):
            assert getattr(got, attribute) == getattr(want, attribute)
    assert remote.norm1.eps == layer.norm1.eps
    assert remote.activation_relu_or_gelu == layer.activation_relu_or_gelu
    assert list(remote.parameters()) == []


@torch.no_grad()
def test_a_container_can_be_made_of_it(client):
    layer, remote = make_pair(client, batch_first=True)
    x = torch.rand(N, L, E)
    padding = torch.arange(L) >= torch.tensor([[L], [3], [1]])

    encoder = nn.TransformerEncoder(remote, 2, enable_nested_tensor=False).eval()

    same = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    got = encoder(x, src_key_padding_mask=padding)
    torch.testing.assert_close(got, same(x, src_key_padding_mask=padding))
