# SPDX-License-Identifier: Apache-2.0
"""What is reached inside a layer on a server: attributes, or a clear error."""

import copy
import pickle

import numpy as np
import pytest
import torch
from attention_client.torch import (
    RemoteMultiheadAttention,
    RemoteTransformerEncoderLayer,
    offload,
)
from torch import nn
from torch.nn import functional as F

E, H, N, L = 16, 4, 3, 5


@pytest.fixture
def layer(client):
    torch.manual_seed(91)
    layer = nn.TransformerEncoderLayer(E, H, 32, batch_first=True).eval()
    return RemoteTransformerEncoderLayer(layer, client)


@pytest.fixture
def x():
    return torch.rand(N, L, E)


CALLS = {
    "self_attn": lambda layer, x: layer.self_attn(x, x, x),
    "self_attn.out_proj": lambda layer, x: layer.self_attn.out_proj(x),
    "linear1": lambda layer, x: layer.linear1(x),
    "norm1": lambda layer, x: layer.norm1(x),
    "dropout": lambda layer, x: layer.dropout(x),
    "norm2": lambda layer, x: layer.norm2.register_forward_hook(print),
    "linear2": lambda layer, x: layer.linear2.register_forward_pre_hook(print),
}


@pytest.mark.parametrize("path", CALLS)
def test_a_part_cannot_be_called_alone(layer, x, path):
    with pytest.raises(RuntimeError, match=f"^{path} is part of a layer that a server"):
        CALLS[path](layer, x)


@pytest.mark.parametrize("method", ["_sa_block", "_ff_block"])
def test_nor_can_a_step_of_the_layer(layer, x, method):
    arguments = (x, None, None) if method == "_sa_block" else (x,)

    with pytest.raises(RuntimeError, match="is part of a layer that a server"):
        getattr(layer, method)(*arguments)


USES = {
    "arithmetic": lambda weight, x: weight + 1,
    "a product": lambda weight, x: F.linear(x, weight),
    "a slice": lambda weight, x: weight[0],
    "another dtype": lambda weight, x: weight.double(),
    "another device": lambda weight, x: weight.to("meta"),
    "a copy": lambda weight, x: weight.clone(),
    "without gradients": lambda weight, x: weight.detach(),
    "its data": lambda weight, x: weight.data,
    "one like it": lambda weight, x: torch.zeros_like(weight),
    "a list": lambda weight, x: weight.tolist(),
    "an array": lambda weight, x: weight.numpy(),
    "NumPy's array": lambda weight, x: np.asarray(weight),
    "a number": lambda weight, x: weight.sum().item(),
    "a comparison": lambda weight, x: torch.equal(weight, weight),
    "truth": lambda weight, x: bool(weight),
    "filling": lambda weight, x: nn.init.zeros_(weight),
    "copying into": lambda weight, x: x.copy_(weight[:N]),
    "a parameter": lambda weight, x: nn.Parameter(weight),
}


@pytest.mark.parametrize("use", USES)
def test_a_weight_has_no_values(layer, x, use):
    with pytest.raises(RuntimeError, match="'linear2.weight' is on a server: it has"):
        USES[use](layer.linear2.weight, x[..., :8])


def test_a_weight_has_shape_dtype_and_device(layer):
    weight = layer.self_attn.in_proj_weight

    assert weight.shape == (3 * E, E) and weight.ndim == 2 and len(weight) == 3 * E
    assert weight.dtype == torch.float32 and weight.is_floating_point()
    assert weight.device == torch.device("cpu") and not weight.is_meta
    assert weight.numel() == 3 * E * E and weight.element_size() == 4
    assert "self_attn.in_proj_weight" in repr(weight)
    assert torch.overrides.has_torch_function((weight,))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda w: pickle.loads(pickle.dumps(w))]
)
def test_a_copy_of_a_weight_is_one_too(layer, copied):
    weight = copied(layer.linear1.weight)

    assert weight.shape == (32, E)
    with pytest.raises(RuntimeError, match="'linear1.weight' is on a server"):
        weight + 1


def test_steps_that_need_no_weights_work(client):
    remote = RemoteMultiheadAttention(nn.MultiheadAttention(E, H), client)
    mask = torch.zeros(N, L, dtype=torch.bool)

    assert remote.merge_masks(None, mask, torch.rand(N, L, E))[1] == 1
    with pytest.raises(RuntimeError, match="on a server"):
        remote._reset_parameters()


@torch.no_grad()
def test_a_model_is_moved_to_where_its_weights_would_be(layer, x):
    assert layer.to(layer.linear1.weight.device)(x).device == x.device
    moved = copy.deepcopy(layer).to("meta")
    assert moved.linear1.weight.device == torch.device("meta")


@torch.no_grad()
def test_containers_of_pytorch_take_it(client, x):
    here = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(E, H, 32, batch_first=True), 2
    ).eval()
    there = offload(copy.deepcopy(here), client)
    want = here(x)

    torch.testing.assert_close(nn.DataParallel(there)(x), want)
    torch.testing.assert_close(torch.optim.swa_utils.AveragedModel(there)(x), want)
    made = nn.TransformerEncoder(there.layers[0], 2).eval()
    assert made(x).shape == x.shape
    got = torch.func.functional_call(there, dict(there.named_parameters()), (x,))
    torch.testing.assert_close(got, want)
