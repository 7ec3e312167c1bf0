# SPDX-License-Identifier: Apache-2.0
"""Remote layers in graphs of torch.fx, which run in the modes they are called in."""

import copy
import pickle

import pytest
import torch
from attention_client.torch import (
    RemoteMultiheadAttention,
    offload,
    scaled_dot_product_attention,
)
from torch import nn
from torch.nn import functional as F

E, H, N, L = 16, 4, 3, 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(111)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(E, H, 32, 0.5, batch_first=True)
        self.attention = nn.MultiheadAttention(E, H, 0.5, batch_first=True)

    def forward(self, x):
        x = self.encoder(x)
        return self.attention(x, x, value=x, need_weights=False)[0]


@pytest.fixture
def here():
    return Model()


@pytest.fixture
def there(here, client):
    return offload(copy.deepcopy(here), client)


@torch.no_grad()
def test_dropout_is_drawn_anew_until_the_graph_is_in_eval(here, there):
    graph = torch.fx.symbolic_trace(there)
    x = torch.rand(N, L, E)

    assert not torch.equal(graph(x), graph(x))
    graph.eval()
    torch.testing.assert_close(graph(x), here.eval()(x))
    graph.train()
    assert not torch.equal(graph(x), graph(x))


@torch.no_grad()
def test_autocast_is_that_of_the_call(here, there):
    graph = torch.fx.symbolic_trace(there.eval())
    x = torch.rand(N, L, E)

    with torch.autocast("cpu", torch.bfloat16):
        want, got = here.eval()(x), graph(x)

    assert got.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(got, want, rtol=0, atol=16 * 2**-8)
    assert graph(x).dtype == torch.float32


def test_gradients_are_refused_where_the_call_records_them(there):
    with torch.no_grad():
        graph = torch.fx.symbolic_trace(there)

    output = graph(torch.rand(N, L, E, requires_grad=True))

    with pytest.raises(RuntimeError, match="inference only"):
        output.sum().backward()


@torch.no_grad()
def test_hooks_run_once_in_each_call_and_not_when_it_is_recorded(there):
    seen = []
    there.encoder.register_forward_pre_hook(lambda *_: seen.append("hook"))

    graph = torch.fx.symbolic_trace(there)
    assert not seen
    graph(torch.rand(N, L, E))

    assert seen == ["hook"]


@torch.no_grad()
def test_a_graph_is_pickled(here, there):
    graph = pickle.loads(pickle.dumps(torch.fx.symbolic_trace(there.eval())))
    x = torch.rand(N, L, E)

    torch.testing.assert_close(graph(x), here.eval()(x))


def test_a_layer_alone_is_refused_with_what_works(client):
    remote = RemoteMultiheadAttention(nn.MultiheadAttention(E, H), client)

    with pytest.raises(RuntimeError, match="trace a model that has it as a part"):
        torch.fx.symbolic_trace(remote)


class Function(nn.Module):
    def __init__(self, function, **options):
        super().__init__()
        self.function, self.options = function, options

    def forward(self, query, key, value):
        return self.function(query, key, value, **self.options)


@torch.no_grad()
def test_the_function_draws_dropout_anew(client):
    there = Function(scaled_dot_product_attention, client=client, dropout_p=0.5)
    graph = torch.fx.symbolic_trace(there)
    inputs = torch.rand(3, N, H, L, E)

    assert not torch.equal(graph(*inputs), graph(*inputs))


@torch.no_grad()
def test_autocast_of_the_function_is_that_of_the_call(client):
    here = Function(F.scaled_dot_product_attention)
    graph = torch.fx.symbolic_trace(
        Function(scaled_dot_product_attention, client=client)
    )
    inputs = torch.rand(3, N, H, L, E)

    with torch.autocast("cpu", torch.bfloat16):
        want, got = here(*inputs), graph(*inputs)

    assert got.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(got, want, rtol=0, atol=4 * 2**-8)
