# SPDX-License-Identifier: Apache-2.0
"""scaled_dot_product_attention against torch.nn.functional's."""

import pytest
import torch
from attention_client.torch import scaled_dot_product_attention
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right, causal_upper_left

N, H, L, S, D = 2, 4, 5, 7, 8


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(61)


def assert_same(client, *inputs, **options):
    got = scaled_dot_product_attention(*inputs, client=client, **options)
    torch.testing.assert_close(got, F.scaled_dot_product_attention(*inputs, **options))


def make_inputs(*lead, value_size=D):
    return (
        torch.rand(*lead, L, D),
        torch.rand(*lead, S, D),
        torch.rand(*lead, S, value_size),
    )


@pytest.mark.parametrize("lead", [(N, H), (N,), (), (3, N, H)], ids=str)
def test_any_number_of_leading_dimensions(client, lead):
    assert_same(client, *make_inputs(*lead))
    x = torch.rand(*lead, L, D)
    assert_same(client, x, x, x, is_causal=True)


@pytest.mark.parametrize(
    "shape", [(L, S), (1, S), (H, 1, S), (N, 1, L, S), (N, H, L, S)]
)
def test_a_boolean_mask_is_true_where_a_key_takes_part(client, shape):
    mask = torch.rand(shape) < 0.7

    assert_same(client, *make_inputs(N, H), mask)


def test_computed_in_bfloat16(client):
    query, key, value = make_inputs(N, H)
    want = F.scaled_dot_product_attention(query, key, value)

    fast = scaled_dot_product_attention(
        query, key, value, client=client, compute_dtype="bfloat16"
    )

    # Values below 1, rounded to 8 bits, by weights that sum to 1.
    torch.testing.assert_close(fast, want, rtol=0, atol=4 * 2**-8)
    assert "COMPUTE_DTYPE_BFLOAT16" in [
        module.config.get("compute_dtype") for module in client.modules.list()
    ]
    # The other module is still there.
    assert_same(client, query, key, value)


def test_a_float_mask_is_added(client):
    assert_same(client, *make_inputs(N, H), torch.randn(N, 1, L, S))
    assert_same(client, *make_inputs(N), torch.randn(N, L, S))
    assert_same(client, *make_inputs(3, N, H), torch.randn(N, 1, L, S))


def test_a_query_that_sees_no_key_yields_zeros(client):
    mask = torch.ones(L, S, dtype=torch.bool)
    mask[2] = False

    assert_same(client, *make_inputs(N, H), mask)


def test_the_causal_mask_is_top_left(client):
    assert_same(client, *make_inputs(N, H), is_causal=True)


def test_heads_of_keys_and_values_are_shared(client):
    query, key, value = (
        torch.rand(N, H, L, D),
        torch.rand(N, 2, S, D),
        torch.rand(N, 2, S, D),
    )

    assert_same(client, query, key, value, enable_gqa=True)


def test_scale_and_value_size(client):
    assert_same(client, *make_inputs(N, H, value_size=3), scale=0.3)


def test_batches_are_broadcast(client):
    query, key, value = make_inputs(N, H)

    assert_same(client, query, key[:1], value[:1])


def test_dropout_is_drawn_from_torchs_generator(client):
    inputs = make_inputs(N, H)

    def draw(seed):
        torch.manual_seed(seed)
        return scaled_dot_product_attention(*inputs, dropout_p=0.5, client=client)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_raises_what_the_function_raises(client):
    query, key, value = make_inputs(N, H)
    mask = torch.zeros(L, S)
    bad = [
        ((query, key.double(), value), {}),
        ((query, key[..., 1:], value), {}),
        ((query, key, value, mask[:, 1:]), {}),
        ((query, key, value, mask.int()), {}),
        ((query, key[:, 1:], value[:, 1:]), {}),
    ]

    for inputs, options in bad:
        with pytest.raises(RuntimeError):
            F.scaled_dot_product_attention(*inputs, **options)
        with pytest.raises(RuntimeError):
            scaled_dot_product_attention(*inputs, client=client, **options)


def test_a_mask_beside_the_causal_flag_is_refused_as_torch_documents(client):
    inputs = make_inputs(N, H)

    with pytest.raises(RuntimeError, match="is_causal=True"):
        scaled_dot_product_attention(
            *inputs, torch.zeros(L, S), is_causal=True, client=client
        )


def test_a_module_the_server_has_forgotten_is_served_again(client):
    inputs = make_inputs(N, H)
    assert_same(client, *inputs, scale=0.7)
    for module in client.modules.list():
        if "scaled_dot_product_attention" in module.config:
            client.modules.unload(module.name)

    assert_same(client, *inputs, scale=0.7)


def test_a_gradient_is_refused_when_it_is_asked_for(client):
    query, key, value = make_inputs(N, H)

    output = scaled_dot_product_attention(
        query.requires_grad_(), key, value, client=client
    )

    with pytest.raises(RuntimeError, match="inference only"):
        output.sum().backward()


@pytest.fixture
def sent(client, monkeypatch):
    """The requests that are made, as they are sent."""
    requests = []
    compute = client.compute

    def spy(request, **options):
        requests.append(request)
        return compute(request, **options)

    monkeypatch.setattr(client, "compute", spy)
    return requests


@pytest.mark.filterwarnings("ignore:Lower right causal bias")
@pytest.mark.parametrize("lengths", [(L, S), (S, L), (L, L)], ids=str)
@pytest.mark.parametrize("make", [causal_lower_right, causal_upper_left])
def test_a_causal_bias_costs_no_bytes(client, sent, make, lengths):
    rows, columns = lengths
    query, key, value = (
        torch.rand(N, H, rows, D),
        torch.rand(N, H, columns, D),
        torch.rand(N, H, columns, D),
    )

    assert_same(client, query, key, value, make(rows, columns))

    assert all(request.attn_mask is None for request in sent)


def test_a_causal_bias_of_other_lengths_is_what_pytorch_makes_of_it(client):
    inputs = make_inputs(N, H)
    for bias in (
        causal_upper_left(2, 9),
        causal_lower_right(3, 3),
        causal_lower_right(1, S),
    ):
        assert_same(client, *inputs, bias)
    assert_same(client, *make_inputs(), causal_lower_right(L, S))

    for bad, options in (
        (causal_lower_right(L - 1, S), {}),
        (causal_lower_right(L, S), {"is_causal": True}),
    ):
        with pytest.raises((RuntimeError, ValueError)) as want:
            F.scaled_dot_product_attention(*inputs, bad, **options)
        with pytest.raises(want.type):
            scaled_dot_product_attention(*inputs, bad, client=client, **options)


def test_a_causal_bias_under_autocast(client):
    inputs = make_inputs(N, H)
    bias = causal_lower_right(L, S)

    with torch.autocast("cpu", torch.bfloat16):
        want = F.scaled_dot_product_attention(*inputs, bias)
        got = scaled_dot_product_attention(*inputs, bias, client=client)

    torch.testing.assert_close(got, want)
