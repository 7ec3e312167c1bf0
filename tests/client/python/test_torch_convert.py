# SPDX-License-Identifier: Apache-2.0
"""attention-convert: checkpoints to module files that the server loads."""

import pathlib
import subprocess
import sys

import pytest
import torch
from attention_client import convert
from torch import nn

SAID = ["--num-heads", "4", "--batch-first", "--no-add-zero-attn", "--dropout", "0"]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(71)


@pytest.fixture
def save(tmp_path):
    """Saves a checkpoint; returns its path."""

    def save(content):
        path = tmp_path / "model.pt"
        torch.save(content, path)
        return str(path)

    return save


def make_model():
    encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return nn.ModuleDict(
        {
            "encoder": nn.TransformerEncoder(encoder, 2),
            "cross": nn.MultiheadAttention(32, 4, kdim=8, batch_first=True),
            "head": nn.Linear(32, 2),
        }
    ).eval()


def test_list_names_every_layer_and_what_is_not_known(save, capsys):
    assert convert.main([save(make_model().state_dict()), "--list"]) == 0

    listed = capsys.readouterr().out
    for prefix in ("cross.", "encoder.layers.0.", "encoder.layers.1.self_attn."):
        assert f"{prefix!r}: " in listed
    assert "'encoder.': transformer_encoder" in listed
    assert "--num-heads, --batch-first or --no-batch-first" in listed
    assert "head" not in listed.replace("num-heads", "").replace("multi_head", "")


def test_what_is_not_known_is_named_and_not_guessed(save, tmp_path, capsys):
    model = save(make_model().state_dict())
    out = tmp_path / "cross.safetensors"

    code = convert.main([model, str(out), "--layer", "cross.", "--batch-first"])

    assert code == 1
    complaint = capsys.readouterr().err
    for missing in ("num_heads (--num-heads)", "add_zero_attn", "dropout"):
        assert missing in complaint
    assert "batch_first" not in complaint
    assert not out.exists()


@torch.no_grad()
def test_a_module_file_computes_as_the_layer(save, client, repository, name):
    model = make_model()
    path = save({"epoch": 3, "state_dict": model.state_dict()})
    out = repository / f"{name}.safetensors"

    assert convert.main([path, str(out), "--layer", "cross", *SAID]) == 0
    client.modules.load(name)

    query, key, value = torch.rand(2, 3, 32), torch.rand(2, 5, 8), torch.rand(2, 5, 32)
    result = client.forward(name, query, key, value)
    torch.testing.assert_close(result.output, model["cross"](query, key, value)[0])


@torch.no_grad()
def test_a_module_folder_computes_as_the_layer(save, client, repository):
    layer = nn.ModuleDict({"folder-form": nn.MultiheadAttention(32, 4)}).eval()
    path = save(layer.state_dict())
    defaults = ["--folder", "--num-heads", "4", "--torch-defaults"]

    assert convert.main([path, str(repository), *defaults]) == 0
    client.modules.load("folder-form")

    x = torch.rand(5, 2, 32)
    want = layer["folder-form"](x, x, x)[0]
    torch.testing.assert_close(client.forward("folder-form", x).output, want)


@torch.no_grad()
def test_every_layer_of_a_model_becomes_a_module(save, client, repository):
    model = nn.ModuleDict({"every": make_model()})
    path = save(model.state_dict())
    options = ["--norm-first", "--activation", "gelu", "--layer-norm-eps", "1e-5"]

    assert convert.main([path, str(repository), *SAID, *options]) == 0

    stored = {m.name: m.config for m in client.modules.list() if m.name[:5] == "every"}
    assert sorted(stored) == [
        "every.cross",
        "every.encoder.layers.0",
        "every.encoder.layers.1",
    ]
    layer = client.modules.load("every.encoder.layers.0")
    config = layer.config["transformer_encoder_layer"]
    assert config["norm_first"] and config["activation"] == "ACTIVATION_GELU"


@torch.no_grad()
def test_an_encoder_becomes_one_module(save, client, repository, name):
    model = make_model()
    out = repository / f"{name}.safetensors"
    options = ["--layer", "encoder", *SAID, "--torch-defaults"]

    assert convert.main([save(model.state_dict()), str(out), *options]) == 0
    client.modules.load(name)

    x = torch.rand(2, 5, 32)
    torch.testing.assert_close(client.forward(name, x).output, model["encoder"](x))


class HandWritten(nn.Module):
    """Multi-head attention with linears q, k, v without biases, and out with one."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16, bias=False) for _ in range(3))
        self.out = nn.Linear(16, 16)

    def forward(self, x):
        q, k, v = (
            part(x).unflatten(-1, (2, 8)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        context = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(context.transpose(1, 2).flatten(2))


@torch.no_grad()
def test_hand_written_attention_is_found_by_its_linears(save, client, repository, name):
    layer = HandWritten()
    out = repository / f"{name}.safetensors"
    said = ["--num-heads", "2", "--batch-first", "--dropout", "0"]

    assert convert.main([save(layer.state_dict()), str(out), *said]) == 0
    client.modules.load(name)

    x = torch.rand(2, 5, 16)
    torch.testing.assert_close(client.forward(name, x).output, layer(x))


def test_a_file_that_is_there_is_kept(save, tmp_path, capsys):
    out = tmp_path / "cross.safetensors"
    out.write_text("mine")
    command = [save(make_model().state_dict()), str(out), "--layer", "cross", *SAID]

    assert convert.main(command) == 1

    assert out.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


def test_a_pickled_model_is_not_executed(save, capsys):
    assert convert.main([save(nn.MultiheadAttention(8, 2)), "--list"]) == 1

    assert "Save model.state_dict()" in capsys.readouterr().err


def test_a_checkpoint_without_attention_is_an_error(save, capsys):
    assert convert.main([save(nn.Linear(2, 2).state_dict()), "--list"]) == 1

    assert "no attention layer" in capsys.readouterr().err


def test_is_installed_as_a_command():
    command = pathlib.Path(sys.executable).with_name("attention-convert")

    result = subprocess.run([command, "--help"], capture_output=True, text=True)

    assert result.returncode == 0
    assert "--torch-defaults" in result.stdout


class HandWrittenBlock(nn.Module):
    """A post-norm encoder layer with the names of one written by hand."""

    def __init__(self):
        super().__init__()
        self.self_attn = HandWritten()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.ffn = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16))

    def forward(self, x):
        x = self.norm1(x + self.self_attn(x))
        return self.norm2(x + self.ffn(x))


@torch.no_grad()
def test_a_hand_written_block_is_found_as_an_encoder_layer(
    save, client, repository, name
):
    block = HandWrittenBlock()
    out = repository / f"{name}.safetensors"
    said = ["--num-heads", "2", "--batch-first", "--dropout", "0", "--no-norm-first"]
    said += ["--activation", "relu", "--layer-norm-eps", "1e-5"]

    assert convert.main([save(block.state_dict()), str(out), *said]) == 0
    client.modules.load(name)

    x = torch.rand(2, 5, 16)
    torch.testing.assert_close(client.forward(name, x).output, block(x))


class D2lAttention(nn.Module):
    """d2l.MultiHeadAttention, without valid_lens."""

    def __init__(self):
        super().__init__()
        self.W_q, self.W_k, self.W_v = (nn.Linear(n, 16, bias=False) for n in (4, 6, 8))
        self.W_o = nn.Linear(16, 16, bias=False)

    def forward(self, queries, keys, values):
        parts = (self.W_q(queries), self.W_k(keys), self.W_v(values))
        q, k, v = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in parts)
        context = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.W_o(context.transpose(1, 2).flatten(2))


@torch.no_grad()
def test_d2ls_attention_is_found_by_its_names(save, client, repository, name):
    layer = D2lAttention()
    out = repository / f"{name}.safetensors"
    said = ["--num-heads", "2", "--dropout", "0.5"]

    assert convert.main([save(layer.state_dict()), str(out), *said]) == 0
    client.modules.load(name)

    inputs = torch.rand(2, 3, 4), torch.rand(2, 5, 6), torch.rand(2, 5, 8)
    torch.testing.assert_close(client.forward(name, *inputs).output, layer(*inputs))
