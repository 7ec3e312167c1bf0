# SPDX-License-Identifier: Apache-2.0
"""attention-convert on stacks of encoder layers: whole, with their norm, or not."""

import pytest
import torch
from attention_client import convert
from checkpoints import randomise, renamed, separate, write_safetensors
from torch import nn

E, H, F = 16, 2, 40
SAID = ["--num-heads", str(H), "--batch-first", "--dropout", "0", "--activation"]
SAID += ["gelu", "--layer-norm-eps", "1e-6", "--norm-first", "--norm-eps", "1e-6"]
WHISPER = {
    "norm1": "self_attn_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm2": "final_layer_norm",
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(11)


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command on tensors; returns (code, printed, complaint)."""

    def run(tensors, *options):
        path = write_safetensors(tmp_path / "model.safetensors", tensors)
        code = convert.main([path, *options])
        return (code, *capsys.readouterr())

    return run


def make_encoder(num_layers=6, final=True):
    layer = nn.TransformerEncoderLayer(
        E, H, F, 0, "gelu", 1e-6, batch_first=True, norm_first=True
    )
    norm = nn.LayerNorm(E, 1e-6) if final else None
    return randomise(
        nn.TransformerEncoder(layer, num_layers, norm, enable_nested_tensor=False)
    )


def make_tensors(final=None, place="model.encoder."):
    """A stack by PyTorch, and its checkpoint with Whisper's names."""
    encoder = make_encoder(2, final is not None)
    names = {
        f"layers.{number}.{own}": f"layers.{number}.{stored}"
        for number in range(2)
        for own, stored in WHISPER.items()
    }
    if final is not None:
        names["norm"] = final
    return encoder, renamed(separate(encoder.state_dict()), names, place)


def spoil(tensors, how):
    """Makes layer 3 (or 4) of six one that is no encoder layer like the others."""
    if how == "a tensor more":
        tensors["encoder.layers.3.gate"] = torch.rand(E)
    elif how == "a norm less":
        del tensors["encoder.layers.3.norm2.weight"]
    elif how == "another width":
        width = F // 2
        tensors["encoder.layers.3.linear1.weight"] = torch.rand(width, E)
        tensors["encoder.layers.3.linear1.bias"] = torch.rand(width)
        tensors["encoder.layers.3.linear2.weight"] = torch.rand(E, width)
    else:
        for name in [name for name in tensors if "layers.3." in name]:
            del tensors[name]


@pytest.mark.parametrize(
    "how", ["a tensor more", "a norm less", "another width", "none at all"]
)
def test_a_stack_with_an_odd_layer_is_refused_and_the_layer_named(run, tmp_path, how):
    tensors = renamed(make_encoder().state_dict(), {}, "encoder.")
    spoil(tensors, how)
    out = tmp_path / "out.safetensors"

    code, _, complaint = run(tensors, str(out), "--layer", "encoder", *SAID)

    assert code == 1 and not out.exists()
    assert "encoder.layers.3 is no encoder layer as the others are" in complaint
    _, printed, _ = run(tensors, "--list")
    assert "'encoder.': no stack of layers: encoder.layers.3" in printed
    assert "num_layers" not in printed


@torch.no_grad()
@pytest.mark.parametrize(
    "final",
    ["layer_norm", "ln_post", "post_layernorm", "layernorm", "norm", "ln_f"]
    + ["final_layer_norm"],
)
def test_the_norm_behind_a_stack_is_taken(run, client, repository, name, final):
    encoder, tensors = make_tensors(final)
    out = repository / f"{name}.safetensors"

    code, _, _ = run(tensors, str(out), "--layer", "model.encoder", *SAID)
    assert code == 0
    client.modules.load(name)

    x = torch.rand(2, 5, E)
    torch.testing.assert_close(
        client.forward(name, x).output, encoder(x), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "more",
    [
        {"encoder_norm.weight": E},
        {"layer_norm.weight": E, "norm.weight": E},
        {"layer_norm.weight": E + 1},
        {"layer_norm.weight": E, "pos_conv_embed.conv.bias": E},
    ],
    ids=", ".join,
)
def test_a_stack_is_refused_where_its_last_norm_is_not_known(run, tmp_path, more):
    _, tensors = make_tensors()
    for name, width in more.items():
        tensors[f"model.encoder.{name}"] = torch.rand(width)
    out = tmp_path / "out.safetensors"

    code, _, complaint = run(tensors, str(out), "--layer", "model.encoder", *SAID)

    assert code == 1 and not out.exists()
    assert "no stack of layers" in complaint and "norm" in complaint


def test_what_lies_beside_a_stacks_layers_is_named(run, tmp_path):
    _, tensors = make_tensors("layer_norm")
    tensors["model.encoder.conv1.weight"] = torch.rand(E, E, 3)
    tensors["model.encoder.layernorm_embedding.weight"] = torch.rand(E)
    out = tmp_path / "out.safetensors"

    code, printed, _ = run(tensors, str(out), "--layer", "model.encoder", *SAID)

    assert code == 0
    assert "left out: conv1.weight, layernorm_embedding.weight" in printed


def test_two_lists_of_layers_side_by_side_are_two_stacks(run):
    """MAE's blocks and decoder_blocks."""
    _, tensors = make_tensors(place="")
    decoder = {f"decoder_{name}": tensor for name, tensor in tensors.items()}

    code, printed, _ = run({**tensors, **decoder}, "--list")

    assert code == 0
    assert "'layers.': transformer_encoder\n" in printed
    assert "'decoder_layers.': transformer_encoder\n" in printed


def test_layers_without_a_name_above_them_are_one_stack(run):
    _, tensors = make_tensors(place="")
    tensors = {name.replace("layers.", "", 1): t for name, t in tensors.items()}

    code, printed, _ = run(tensors, "--list")

    assert code == 0
    assert "'': transformer_encoder\n" in printed
    assert '"num_layers": 2' in printed
