# SPDX-License-Identifier: Apache-2.0
"""RemoteMultiheadAttention against torch.nn.MultiheadAttention."""

import copy

import pytest
import torch
from attention_client import (
    InvalidRequestError,
    ModuleExistsError,
    UnknownModuleError,
)
from attention_client.torch import (
    RemoteMultiheadAttention,
    scaled_dot_product_attention,
)
from torch import nn

E, H, N, L, S = 16, 4, 3, 5, 7


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(31)


def make_pair(client, **options):
    """A layer and its remote twin."""
    layer = nn.MultiheadAttention(E, H, **options).eval()
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return layer, RemoteMultiheadAttention(layer, client)


def assert_same(layer, remote, *inputs, **options):
    with torch.no_grad():
        got, want = remote(*inputs, **options), layer(*inputs, **options)
    torch.testing.assert_close(got, want, equal_nan=True)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_first": True},
        {"bias": False},
        {"kdim": 6, "vdim": 9},
        {"add_bias_kv": True},
        {"add_zero_attn": True, "add_bias_kv": True},
        {"dtype": torch.float64},
    ],
    ids=str,
)
def test_answers_as_the_layer_it_is_made_of(client, options, need_weights):
    layer, remote = make_pair(client, **options)
    dtype = options.get("dtype")
    query = torch.rand(N, N, E, dtype=dtype)
    key = torch.rand(N, N, layer.kdim, dtype=dtype)
    value = torch.rand(N, N, layer.vdim, dtype=dtype)

    assert_same(layer, remote, query, key, value, need_weights=need_weights)


@torch.no_grad()
def test_a_layer_computed_in_bfloat16_is_a_module_of_its_own(client):
    layer, exact = make_pair(client, batch_first=True)
    x = torch.rand(N, L, E)

    fast = RemoteMultiheadAttention(layer, client, compute_dtype="bfloat16")

    config = client.modules.get(fast.module_name).config
    assert config["compute_dtype"] == "COMPUTE_DTYPE_BFLOAT16"
    assert "compute_dtype" not in client.modules.get(exact.module_name).config
    # Operands off by 2^-9, in sums of E products below 1.
    error = (fast(x, x, x)[0] - layer(x, x, x)[0]).abs().max()
    assert error < 4 * E * 2**-9
    again = RemoteMultiheadAttention(fast.module_name, client)
    assert torch.equal(again(x, x, x)[0], fast(x, x, x)[0])


def test_float64_weights_are_not_computed_with_in_bfloat16(client):
    layer = nn.MultiheadAttention(E, H, dtype=torch.float64)

    with pytest.raises(InvalidRequestError, match="compute_dtype: .* float64"):
        RemoteMultiheadAttention(layer, client, compute_dtype="bfloat16")


def test_self_attention_sends_one_tensor_and_answers_the_same(client):
    layer, remote = make_pair(client)
    x = torch.rand(L, N, E)

    assert_same(layer, remote, x, x, x)
    assert_same(layer, remote, x, x, torch.rand(L, N, E))
    y = torch.rand(S, N, E)
    assert_same(layer, remote, x, y, y)


def test_unbatched_input(client):
    layer, remote = make_pair(client, batch_first=True)
    query, key = torch.rand(L, E), torch.rand(S, E)

    assert_same(layer, remote, query, key, key)


@pytest.mark.parametrize("average", [True, False])
def test_masks_are_true_where_masked(client, average):
    layer, remote = make_pair(client, batch_first=True)
    query, key = torch.rand(N, L, E), torch.rand(N, S, E)
    padding = torch.arange(S) >= torch.tensor([[S], [3], [1]])
    masks = [
        torch.rand(L, S) < 0.3,
        torch.rand(N * H, L, S) < 0.3,
        torch.rand(L, S),
        torch.where(torch.rand(L, S) < 0.3, -torch.inf, 0.0),
    ]

    for mask in masks:
        options = {"attn_mask": mask, "average_attn_weights": average}
        assert_same(layer, remote, query, key, key, **options)
    assert_same(layer, remote, query, key, key, key_padding_mask=padding)
    assert_same(
        layer,
        remote,
        query,
        key,
        key,
        key_padding_mask=padding,
        attn_mask=masks[0] & ~padding[1],
        need_weights=False,
    )


@pytest.mark.parametrize("add_zero_attn", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_the_causal_hint_has_torchs_meaning(client, need_weights, add_zero_attn):
    layer, remote = make_pair(client, add_zero_attn=add_zero_attn)
    x = torch.rand(L, N, E)
    mask = torch.rand(L, L) < 0.1  # The hint replaces it, or not, as torch does.

    assert_same(
        layer,
        remote,
        x,
        x,
        x,
        attn_mask=mask,
        is_causal=True,
        need_weights=need_weights,
    )


def bad_calls():
    x, y = torch.rand(L, N, E), torch.rand(S, N, E)
    return {
        "query's width": ((x[..., 1:], y, y), {}),
        "key's width": ((x, y[..., 1:], y[..., 1:]), {}),
        "lengths of key and value": ((x, y, y[1:]), {}),
        "batch": ((x, y[:, 1:], y[:, 1:]), {}),
        "dimensions": ((x[None], y, y), {}),
        "mixed dimensions": ((x, y[0], y[0]), {}),
        "mask's shape": ((x, y, y), {"attn_mask": torch.zeros(L, L)}),
        "mask's 3-D shape": ((x, y, y), {"attn_mask": torch.zeros(1, L, S)}),
        "mask's dtype": ((x, y, y), {"attn_mask": torch.zeros(L, S).int()}),
        "padding's shape": ((x, y, y), {"key_padding_mask": torch.zeros(N, L) > 0}),
        "hint without mask": ((x, y, y), {"is_causal": True}),
    }


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("case", bad_calls())
def test_raises_what_the_layer_raises(client, case, need_weights):
    layer, remote = make_pair(client)
    inputs, options = bad_calls()[case]
    options["need_weights"] = need_weights

    with pytest.raises((AssertionError, RuntimeError)) as want:
        layer(*inputs, **options)
    with pytest.raises((AssertionError, RuntimeError)) as got:
        remote(*inputs, **options)

    assert got.type is want.type
    if want.type is AssertionError:
        assert str(got.value) == str(want.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_another_dtype_than_the_weights_is_a_runtime_error(client, dtype):
    layer, remote = make_pair(client)
    x = torch.rand(L, N, E, dtype=dtype)

    with pytest.raises(RuntimeError) as want:
        layer(x, x, x)
    with pytest.raises(RuntimeError, match="must have the same dtype") as got:
        remote(x, x, x)

    assert str(got.value) == str(want.value)


def test_a_fault_is_found_again_after_a_good_call(client):
    _, remote = make_pair(client)
    x = torch.rand(L, N, E)
    remote(x, x, x)

    with pytest.raises(RuntimeError, match="same dtype"):
        remote(x.double(), x.double(), x.double())
    with pytest.raises(AssertionError, match="does not match value"):
        remote(x, x, x[1:])


def test_a_gradient_is_refused_when_it_is_asked_for(client):
    _, remote = make_pair(client)
    x = torch.rand(L, N, E, requires_grad=True)

    output, weights = remote(x, x, x)

    for answer in (output, weights):
        with pytest.raises(RuntimeError, match="inference only.*no_grad"):
            answer.sum().backward()


def test_what_follows_can_be_trained_on_its_answers(client):
    _, remote = make_pair(client)
    head = nn.Linear(E, 1)
    x = torch.rand(L, N, E)

    head(remote(x, x, x)[0]).sum().backward()

    assert head.weight.grad is not None


def test_dropout_is_applied_in_train_mode_only(client):
    _, remote = make_pair(client, dropout=0.5)
    x = torch.rand(50, 1, E)
    assert not remote.training

    def dropped():
        weights = remote(x, x, x, average_attn_weights=False)[1]
        return (weights == 0).float().mean().item()

    assert dropped() == 0
    remote.train()
    assert 0.45 < dropped() < 0.55
    remote.eval()
    assert dropped() == 0


def test_dropout_is_drawn_from_torchs_generator(client):
    _, remote = make_pair(client, dropout=0.5)
    remote.train()
    x = torch.rand(L, N, E)

    def draw(seed):
        torch.manual_seed(seed)
        return remote(x, x, x)[0]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_keeps_the_layers_mode(client):
    layer = nn.MultiheadAttention(E, H)

    assert RemoteMultiheadAttention(layer, client).training


def test_the_same_layer_is_served_once(client):
    layer, remote = make_pair(client)
    count = len(client.modules.list())

    again = RemoteMultiheadAttention(copy.deepcopy(layer), client)

    assert again.module_name == remote.module_name
    assert len(client.modules.list()) == count


def test_a_layer_may_be_served_under_a_name(client, name):
    layer, _ = make_pair(client)

    remote = RemoteMultiheadAttention(layer, client, name=name)

    x = torch.rand(L, N, E)
    assert_same(layer, remote, x, x, x)
    with pytest.raises(ModuleExistsError, match=name):
        RemoteMultiheadAttention(layer, client, name=name)
    RemoteMultiheadAttention(layer, client, name=name, replace=True)


def test_a_served_module_is_used_by_its_name(address, client, name):
    layer, _ = make_pair(client, kdim=6, batch_first=True, add_zero_attn=True)
    RemoteMultiheadAttention(layer, client, name=name)

    remote = RemoteMultiheadAttention(name, address)

    query, key, value = torch.rand(N, L, E), torch.rand(N, S, 6), torch.rand(N, S, E)
    remote.eval()
    assert_same(layer, remote, query, key, value)
    with pytest.raises(RuntimeError, match="same dtype"):
        remote(query.double(), key.double(), value.double())


def test_a_name_that_is_not_served_is_an_error(client):
    with pytest.raises(UnknownModuleError, match="nobody"):
        RemoteMultiheadAttention("nobody", client)


def test_has_the_layers_attributes_but_no_parameters(client):
    layer, remote = make_pair(client, batch_first=True)

    assert list(remote.parameters()) == []
    assert remote.state_dict() == {}
    for attribute in ("embed_dim", "num_heads", "head_dim", "batch_first", "dropout"):
        assert getattr(remote, attribute) == getattr(layer, attribute)
    assert remote._qkv_same_embed_dim
    assert remote.in_proj_weight.shape == layer.in_proj_weight.shape
    with pytest.raises(AttributeError, match="nonsense"):
        remote.nonsense


def test_a_copy_computes_with_the_same_module(client):
    layer, remote = make_pair(client)

    twin = copy.deepcopy(remote)

    x = torch.rand(L, N, E)
    assert twin.client is remote.client
    assert_same(layer, twin, x, x, x)


def test_unload_frees_the_server(client):
    _, remote = make_pair(client)

    remote.unload()
    remote.unload()

    with pytest.raises(UnknownModuleError):
        remote(*[torch.rand(L, N, E)] * 3)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@torch.no_grad()
def test_nested_tensors_are_refused_with_what_works(client, layout):
    remote = RemoteMultiheadAttention(nn.MultiheadAttention(16, 4), client)
    sequences = [torch.rand(3, 16), torch.rand(5, 16)]
    nested = torch.nested.nested_tensor(sequences, layout=layout)

    with pytest.raises(AssertionError, match="nested tensors: pass a padded batch"):
        remote(nested, nested, nested)
    with pytest.raises(RuntimeError, match="nested tensors: pass a padded batch"):
        scaled_dot_product_attention(nested, nested, nested, client=client)
