# SPDX-License-Identifier: Apache-2.0
"""offload: whole models with their attention on the server."""

import copy

import pytest
import torch
from attention_client.torch import (
    RemoteModule,
    RemoteMultiheadAttention,
    RemoteTransformerEncoderLayer,
    offload,
    unload,
)
from torch import nn

WIDTH, HEADS = 512, 8


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(41)


@pytest.fixture(scope="module", autouse=True)
def free_the_server(client):
    """These models are large."""
    before = {module.name for module in client.modules.list()}
    yield
    for module in client.modules.list():
        if module.name not in before:
            client.modules.unload(module.name)


def make_encoder(**options):
    """The encoder of "Attention is all you need", and each layer different."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 6, **options).eval()
    for parameter in encoder.parameters():
        nn.init.uniform_(parameter, -0.05, 0.05)
    return encoder


@pytest.fixture(scope="module")
def encoders(client):
    """The encoder, with and without nested tensors, and the same on the server."""
    here = {
        nested: make_encoder(enable_nested_tensor=nested) for nested in (True, False)
    }
    there = {n: offload(copy.deepcopy(e), client) for n, e in here.items()}
    return here, there


@pytest.mark.parametrize("nested", [True, False])
@torch.no_grad()
def test_an_encoder_of_six_layers(encoders, nested):
    here, there = (each[nested] for each in encoders)
    x = torch.rand(4, 20, WIDTH)

    assert (
        sum(isinstance(m, RemoteTransformerEncoderLayer) for m in there.modules()) == 6
    )
    assert list(there.parameters()) == []
    torch.testing.assert_close(there(x), here(x))


@pytest.mark.parametrize("nested", [True, False])
@torch.no_grad()
def test_a_padded_batch(encoders, nested):
    here, there = (each[nested] for each in encoders)
    x = torch.rand(4, 20, WIDTH)
    padding = torch.arange(20) >= torch.tensor([[20], [13], [7], [1]])

    got = there(x, src_key_padding_mask=padding)
    want = here(x, src_key_padding_mask=padding)

    torch.testing.assert_close(got[~padding], want[~padding])
    if not nested:
        torch.testing.assert_close(got, want)


@torch.no_grad()
def test_a_causal_mask(encoders):
    here, there = (each[True] for each in encoders)
    x = torch.rand(2, 20, WIDTH)
    mask = nn.Transformer.generate_square_subsequent_mask(20)

    want = here(x, mask=mask, is_causal=True)

    torch.testing.assert_close(there(x, mask=mask, is_causal=True), want)
    torch.testing.assert_close(there(x, mask=mask), want)


@torch.no_grad()
def test_both_attentions_of_a_decoder_layer(client):
    here = nn.Transformer(64, 4, 0, 1, 128, batch_first=True).decoder.layers[0].eval()
    target, memory = torch.rand(3, 6, 64), torch.rand(3, 9, 64)
    options = {
        "tgt_mask": nn.Transformer.generate_square_subsequent_mask(6),
        "memory_key_padding_mask": torch.arange(9) >= torch.tensor([[9], [4], [1]]),
    }

    there = offload(copy.deepcopy(here), client)

    assert isinstance(there.self_attn, RemoteMultiheadAttention)
    assert isinstance(there.multihead_attn, RemoteMultiheadAttention)
    for is_causal in (False, True):
        options["tgt_is_causal"] = is_causal
        want = here(target, memory, **options)
        torch.testing.assert_close(there(target, memory, **options), want)


@torch.no_grad()
def test_a_whole_transformer(client):
    here = nn.Transformer(32, 4, 2, 2, 64, batch_first=True).eval()
    source, target = torch.rand(2, 7, 32), torch.rand(2, 5, 32)
    mask = nn.Transformer.generate_square_subsequent_mask(5)

    there = offload(copy.deepcopy(here), client)

    # Two encoder layers, and two attentions in each of two decoder layers.
    assert sum(isinstance(module, RemoteModule) for module in there.modules()) == 6
    want = here(source, target, tgt_mask=mask)
    torch.testing.assert_close(there(source, target, tgt_mask=mask), want)


@torch.no_grad()
def test_of_a_layer_with_another_activation_the_attention_alone(client):
    options = {"batch_first": True, "activation": torch.tanh}
    here = nn.TransformerEncoderLayer(32, 4, 64, **options).eval()
    x = torch.rand(2, 5, 32)

    there = offload(copy.deepcopy(here), client)

    assert isinstance(there.self_attn, RemoteMultiheadAttention)
    assert isinstance(there.linear1, nn.Linear)
    torch.testing.assert_close(there(x), here(x))


@torch.no_grad()
def test_a_layer_in_two_places_stays_one(client):
    layer = nn.MultiheadAttention(32, 4)
    model = nn.ModuleList([layer, nn.ModuleDict({"again": layer})])

    offload(model, client)

    assert isinstance(model[0], RemoteMultiheadAttention)
    assert model[0] is model[1]["again"]


@torch.no_grad()
def test_a_layer_twice_in_one_module_stays_one(client):
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    x = torch.rand(2, 5, 32)
    want = layer(layer(x))

    model = offload(nn.Sequential(layer, layer), client)

    assert isinstance(model[0], RemoteTransformerEncoderLayer)
    assert model[0] is model[1]
    torch.testing.assert_close(model(x), want)


@torch.no_grad()
def test_a_model_computed_in_bfloat16(client):
    here = nn.Sequential(
        nn.TransformerEncoderLayer(32, 4, 64, batch_first=True),
        nn.TransformerEncoderLayer(32, 4, 64, activation=torch.tanh, batch_first=True),
    ).eval()
    x = torch.rand(2, 5, 32)

    there = offload(copy.deepcopy(here), client, compute_dtype="bfloat16")

    remote = [m for m in there.modules() if isinstance(m, RemoteModule)]
    kinds = [RemoteTransformerEncoderLayer, RemoteMultiheadAttention]
    assert [type(module) for module in remote] == kinds
    for module in remote:
        config = client.modules.get(module.module_name).config
        assert config["compute_dtype"] == "COMPUTE_DTYPE_BFLOAT16"
    # Answers of a norm, about 1, of numbers rounded to 8 bits again and again.
    torch.testing.assert_close(there(x), here(x), rtol=0, atol=16 * 2**-8)


def test_a_model_is_not_computed_in_anything_else(client):
    model = nn.Sequential(nn.MultiheadAttention(32, 4))

    with pytest.raises(ValueError, match="compute_dtype: .* 'float16'"):
        offload(model, client, compute_dtype="float16")
    assert isinstance(model[0], nn.MultiheadAttention)


def test_a_subclass_with_a_forward_of_its_own_stays(client):
    class Mine(nn.MultiheadAttention):
        def forward(self, x):
            return x

    model = nn.Sequential(Mine(32, 4))

    assert isinstance(offload(model, client)[0], Mine)


def test_a_model_that_is_a_layer_is_returned_replaced(client):
    layer = nn.MultiheadAttention(32, 4)

    assert isinstance(offload(layer, client), RemoteMultiheadAttention)


def test_unload_stops_serving_a_model(client):
    model = offload(nn.Sequential(nn.MultiheadAttention(32, 2)), client)

    unload(model)

    served = [module.name for module in client.modules.list()]
    assert model[0].module_name not in served


@torch.no_grad()
def test_forward_hooks_go_over(client):
    model = nn.Sequential(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True))
    model.eval()
    seen = []
    model[0].register_forward_pre_hook(lambda module, inputs: seen.append("before"))
    handle = model[0].register_forward_hook(
        lambda module, inputs, kwargs, output: seen.append(output.shape),
        with_kwargs=True,
    )
    offload(model, client)

    model(torch.rand(2, 5, 32))
    handle.remove()
    model(torch.rand(2, 5, 32))

    assert isinstance(model[0], RemoteTransformerEncoderLayer)
    assert seen == ["before", (2, 5, 32), "before"]


@torch.no_grad()
def test_of_a_layer_with_hooks_inside_the_attention_alone(client):
    here = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    seen = []
    here.self_attn.register_forward_hook(lambda *call: seen.append("attention"))
    x = torch.rand(2, 5, 32)
    want = here(x)
    seen.clear()

    there = offload(here, client)

    torch.testing.assert_close(there(x), want)
    assert isinstance(there.self_attn, RemoteMultiheadAttention)
    assert seen == ["attention"]
