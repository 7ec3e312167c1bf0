# SPDX-License-Identifier: Apache-2.0
"""Which client a graph of PyTorch calls by."""

import gc
import pickle

import pytest
import torch
from attention_client import AttentionClient
from attention_client.torch import (
    RemoteMultiheadAttention,
    _operator,
    scaled_dot_product_attention,
)
from attention_client.torch._judge import REMEMBERED_CALLS
from attention_server import AttentionServer
from torch import nn

E, H, N, L = 16, 4, 3, 5


@pytest.fixture(autouse=True)
def reset():
    torch._dynamo.reset()


@pytest.fixture
def server(server_binary):
    """A server that no other test has a client of."""
    with AttentionServer(server_binary) as server:
        yield server.address


@pytest.fixture
def calls(monkeypatch):
    """The clients that computed."""
    seen = []
    compute = AttentionClient.compute

    def spy(self, request, **options):
        seen.append(self)
        return compute(self, request, **options)

    monkeypatch.setattr(AttentionClient, "compute", spy)
    return seen


def layer(target):
    return RemoteMultiheadAttention(nn.MultiheadAttention(E, H).eval(), target)


def compiled(model):
    return torch.compile(model, backend="eager", fullgraph=True)


def call(model):
    x = torch.rand(L, N, E)
    with torch.no_grad():
        model(x, x, x)


GRAPHS = {
    "compile": compiled,
    "jit.trace": lambda f: torch.jit.trace(f, tuple(torch.rand(3, H, L, E))),
    "fx": torch.fx.symbolic_trace,
}


@pytest.mark.parametrize("graph", GRAPHS)
@torch.no_grad()
def test_the_function_goes_by_the_client_it_is_given(server, calls, graph):
    client = AttentionClient(server, timeout=50)

    def function(query, key, value):
        return scaled_dot_product_attention(query, key, value, client=client)

    GRAPHS[graph](function)(*torch.rand(3, H, L, E))

    assert calls and all(each is client for each in calls)


def test_a_model_that_was_loaded_displaces_nobody(server, calls):
    client = AttentionClient(server)
    model = layer(client)
    graph = compiled(model)

    loaded = pickle.loads(pickle.dumps(model))
    call(graph)

    assert loaded.client is not client
    assert calls == [client]


def test_a_client_that_is_given_goes_before_one_that_was_loaded(server, calls):
    kept = pickle.dumps(layer(AttentionClient(server)))
    gc.collect()
    loaded = pickle.loads(kept)
    call(compiled(loaded))
    client = AttentionClient(server)
    model = layer(client)

    call(compiled(model))

    assert calls == [loaded.client, client]


def test_the_first_that_is_open_is_taken(server, calls):
    clients = [AttentionClient(server) for _ in range(3)]
    models = [layer(client) for client in clients]
    graph = compiled(models[2])

    for client in clients:
        call(graph)
        client.close()

    assert calls == clients


@torch.no_grad()
def test_one_client_is_made_where_there_is_none(server, monkeypatch):
    model = layer(server)
    x = torch.rand(L, N, E)
    graph = torch.jit.trace(model, (x, x, x))
    made = []

    def make(target):
        made.append(AttentionClient(target))
        return made[-1]

    monkeypatch.setattr(_operator, "AttentionClient", make)
    graph(x, x, x)
    assert not made

    model.client.close()
    for _ in range(3):
        graph(x, x, x)
    assert len(made) == 1


def test_few_callees_are_remembered(client):
    assert _operator._callee.cache_info().maxsize == REMEMBERED_CALLS
