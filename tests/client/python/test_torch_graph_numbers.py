# SPDX-License-Identifier: Apache-2.0
"""The function in graphs: numbers that change, and tensors of which some are fake."""

import pytest
import torch
from attention_client.torch import scaled_dot_product_attention
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional as F

E, H, N, L = 16, 4, 3, 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(121)
    torch._dynamo.reset()


def scaled(query, key, value, scale, dropout_p=0.0, **options):
    return scaled_dot_product_attention(
        query, key, value, None, dropout_p, scale=scale, **options
    )


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@torch.no_grad()
def test_the_functions_numbers_may_change(client, backend):
    there = torch.compile(scaled, backend=backend, fullgraph=True)
    inputs = torch.rand(3, N, H, L, E)

    for scale in (0.5, 0.7, 0.9):
        want = F.scaled_dot_product_attention(*inputs, scale=scale)
        torch.testing.assert_close(there(*inputs, scale, client=client), want)
    for dropout_p in (0.3, 0.6, 1.0):
        torch.manual_seed(5)
        got = there(*inputs, 0.5, dropout_p, client=client)
        torch.manual_seed(5)
        want = scaled(*inputs, 0.5, dropout_p, client=client)
        torch.testing.assert_close(got, want)


def by_length(query, key, value, **options):
    """As networks that scale with the logarithm, or so, of the length."""
    return scaled(query, key, value, 1 / key.shape[-2], **options)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@torch.no_grad()
def test_the_functions_scale_may_come_from_a_dynamic_shape(client, backend):
    there = torch.compile(by_length, backend=backend, fullgraph=True, dynamic=True)

    for length in (L, 7, 4):
        inputs = torch.rand(3, N, H, length, E)
        want = F.scaled_dot_product_attention(*inputs, scale=1 / length)
        torch.testing.assert_close(there(*inputs, client=client), want)


@torch.no_grad()
def test_a_batch_of_keys_alone_under_vmap(client):
    query, keys = torch.rand(N, H, L, E), torch.rand(2, N, H, L, E)

    def there(key):
        return scaled_dot_product_attention(query, key, key, client=client)

    got = torch.vmap(there)(keys)

    want = [F.scaled_dot_product_attention(query, key, key) for key in keys]
    torch.testing.assert_close(got, torch.stack(want))


@torch.no_grad()
def test_fakes_of_keys_alone_are_recorded(client):
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    query = torch.rand(N, H, L, E)
    key = mode.from_tensor(torch.rand(N, H, L, E))

    got = scaled_dot_product_attention(query, key, key, client=client)

    assert isinstance(got, FakeTensor) and got.shape == query.shape
