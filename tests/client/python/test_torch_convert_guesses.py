# SPDX-License-Identifier: Apache-2.0
"""attention-convert where names leave a choice: it asks, and does what is said."""

import pytest
import torch
from attention_client import convert
from checkpoints import randomise, renamed, separate, write_safetensors
from torch import nn

E, H, F = 16, 2, 40
SAID = ["--num-heads", str(H), "--batch-first", "--dropout", "0", "--no-add-zero-attn"]
WHOLE = ["--no-norm-first", "--activation", "relu", "--layer-norm-eps", "1e-5"]
X = torch.rand(2, 5, E)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(17)


@pytest.fixture
def run(tmp_path, capsys, repository, name):
    """Converts tensors to a module; returns (code, printed, complaint)."""

    def run(tensors, *options, file="model.safetensors"):
        path = write_safetensors(tmp_path / file, tensors)
        out = ["--list"]
        if "--list" not in options:
            out = [str(repository / f"{name}.safetensors"), *SAID]
        code = convert.main([path, *out, *(o for o in options if o != "--list")])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def answers(client, name):
    """Whether the module that was made answers so."""

    def answers(want):
        client.modules.load(name)
        got = client.forward(name, X).output
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)

    return answers


def make_attention(prefix="attn."):
    attention = randomise(nn.MultiheadAttention(E, H, batch_first=True))
    return attention, renamed(separate(attention.state_dict()), {}, prefix)


def make_stack():
    layer = nn.TransformerEncoderLayer(E, H, F, 0, batch_first=True)
    encoder = randomise(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    return encoder, renamed(encoder.state_dict(), {}, "encoder.")


def test_one_file_of_several_is_not_converted(run):
    code, _, complaint = run(
        make_attention()[1], file="model-00001-of-00002.safetensors"
    )

    assert code == 1
    assert "one of 2 files of a model: give the .safetensors.index.json" in complaint


def test_the_only_file_of_one_is_converted(run):
    assert run(make_attention()[1], file="model-00001-of-00001.safetensors")[0] == 0


@pytest.mark.parametrize("missing", ["out_proj.bias", "q_proj.bias", "v_proj.bias"])
def test_a_bias_that_is_not_there_is_not_zero_by_silence(run, missing):
    _, tensors = make_attention()
    del tensors[f"attn.{missing}"]

    code, _, complaint = run(tensors)

    assert code == 1
    assert f"say --zero-bias {missing} if it is zero" in complaint
    _, printed, _ = run(tensors, "--list")
    assert f"--zero-bias {missing}" in printed and "there, zero" not in printed


@pytest.mark.parametrize("kdim", [E, F])
def test_pytorchs_own_bias_of_projections_is_not_zero_by_silence(run, kdim):
    attention = nn.MultiheadAttention(E, H, kdim=kdim)
    tensors = renamed(attention.state_dict(), {}, "attn.")
    del tensors["attn.in_proj_bias"]

    code, _, complaint = run(tensors)

    assert code == 1 and "--zero-bias in_proj_bias" in complaint


@torch.no_grad()
@pytest.mark.parametrize(
    "said", ["out_proj.bias", "attn.dense.bias", "dense.bias"], ids=str
)
def test_a_bias_that_is_said_to_be_zero_is(run, answers, said):
    attention, tensors = make_attention()
    tensors = renamed(tensors, {"attn.out_proj": "attn.dense"})
    del tensors["attn.dense.bias"]
    tensors["attn.LayerNorm.weight"] = torch.rand(E)
    attention.out_proj.bias[:] = 0

    code, printed, _ = run(tensors, "--zero-bias", said)

    assert code == 0 and "out_proj.bias: not there, zero" in printed
    answers(attention(X, X, X)[0])


@torch.no_grad()
def test_a_bias_is_said_to_be_zero_in_all_layers_of_a_stack(run, answers):
    encoder, tensors = make_stack()
    for number, layer in enumerate(encoder.layers):
        del tensors[f"encoder.layers.{number}.norm1.bias"]
        layer.norm1.bias[:] = 0

    assert "--zero-bias norm1.bias" in run(tensors, "--layer", "encoder", *WHOLE)[2]
    said = ["--zero-bias", "norm1.bias"]
    assert run(tensors, "--layer", "encoder", *WHOLE, *said)[0] == 0
    answers(encoder(X))


def test_a_bias_that_is_there_is_not_said_to_be_zero(run):
    code, _, complaint = run(make_attention()[1], "--zero-bias", "out_proj.bias")

    assert code == 1
    assert "--zero-bias out_proj.bias: no bias of this name is missing" in complaint
