# SPDX-License-Identifier: Apache-2.0
"""Models with remote layers, saved, loaded, copied and sent to other processes."""

import copy
import io
import multiprocessing
import pickle

import pytest
import torch
from attention_client import AttentionClient, UnavailableError
from attention_client.torch import RemoteMultiheadAttention, offload
from attention_server import AttentionServer
from torch import nn

E, H, N, L = 16, 4, 3, 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(81)


def make_pair(target):
    """A model and the same with its attention on the server."""
    here = nn.Sequential(
        nn.TransformerEncoderLayer(E, H, 32, batch_first=True),
        nn.TransformerEncoderLayer(E, H, 32, batch_first=True, activation=torch.tanh),
        nn.Linear(E, 2),
    ).eval()
    return here, offload(copy.deepcopy(here), target)


def saved(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return buffer


WAYS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": lambda model: torch.load(saved(model), weights_only=False),
    "deepcopy": copy.deepcopy,
    "deepcopy of a pickle": lambda model: copy.deepcopy(
        pickle.loads(pickle.dumps(model))
    ),
}


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_a_model_that_travelled_computes_the_same(client, way):
    here, there = make_pair(client)
    x = torch.rand(N, L, E)

    there = WAYS[way](there)

    torch.testing.assert_close(there(x), here(x))
    assert not there.training
    assert there[0].linear1.weight.shape == here[0].linear1.weight.shape
    assert there.half()[0].linear1.weight.dtype == torch.float16


@torch.no_grad()
def test_what_was_converted_stays_so(client):
    _, there = make_pair(client)
    there.bfloat16()

    again = pickle.loads(pickle.dumps(there))

    x = torch.rand(N, L, E).bfloat16()
    assert torch.equal(again(x), there(x))


@torch.no_grad()
def test_a_saved_model_is_loaded_without_its_server(server_binary):
    with AttentionServer(server_binary) as server:
        _, there = make_pair(server.address)
        kept = saved(there)

    again = torch.load(kept, weights_only=False)

    assert again[0].module_name == there[0].module_name
    assert server.address in repr(again)
    with pytest.raises(UnavailableError):
        again(torch.rand(N, L, E))


def test_a_saved_model_holds_no_weights_of_remote_layers(client):
    layer = nn.MultiheadAttention(512, 8)

    remote = RemoteMultiheadAttention(layer, client)

    assert len(pickle.dumps(remote)) < 8192


@torch.no_grad()
def _compute(model, x, answers):
    answers.put(model(x).tolist())


@torch.no_grad()
def test_a_spawned_process_computes_with_it(address):
    # A client of its own, which is in use before and after.
    here, there = make_pair(AttentionClient(address))
    x = torch.rand(N, L, E)
    there(x)
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()

    process = context.Process(target=_compute, args=(there, x, answers))
    process.start()
    got = torch.tensor(answers.get())
    process.join()

    assert process.exitcode == 0
    torch.testing.assert_close(got, here(x))
    torch.testing.assert_close(there(x), here(x))


def test_a_state_dict_has_what_is_here_and_is_loaded_again(client):
    here, there = make_pair(client)

    state = there.state_dict()

    kept = {name: value for name, value in here.state_dict().items() if name in state}
    assert set(state) == {name for name in kept if not name.startswith("0.")}
    assert "1.linear1.weight" in state and "1.self_attn.in_proj_weight" not in state
    there.load_state_dict(state)
    torch.load(saved(state), weights_only=True)


def test_weights_of_a_remote_layer_are_not_loaded_silently(client):
    here, there = make_pair(client)

    with pytest.warns(UserWarning) as caught:
        with pytest.raises(RuntimeError, match="Unexpected key.*self_attn.in_proj"):
            there.load_state_dict(here.state_dict())
        result = there.load_state_dict(here.state_dict(), strict=False)

    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 4 and texts[:2] == texts[2:]
    served = f"is served as '{there[0].module_name}' at '{client.target}'"
    assert texts[0].startswith(f"0 {served}: its weights are not replaced")
    assert texts[1].startswith("1.self_attn is served as")
    assert "1.self_attn.in_proj_weight" in result.unexpected_keys
    assert not result.missing_keys
