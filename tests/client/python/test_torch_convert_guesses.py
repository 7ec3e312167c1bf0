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
    "said", ["out_proj.bias", "attn.o_proj.bias", "o_proj.bias"], ids=str
)
def test_a_bias_that_is_said_to_be_zero_is(run, answers, said):
    attention, tensors = make_attention()
    tensors = renamed(tensors, {"attn.out_proj": "attn.o_proj"})
    del tensors["attn.o_proj.bias"]
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


def make_plain(output, beside=()):
    """An attention of linears query, key and value, and what may be its output."""
    attention, tensors = make_attention("")
    names = dict(zip(("q_proj", "k_proj", "v_proj"), ("query", "key", "value")))
    tensors = renamed(tensors, {**names, "out_proj": output}, "attn.")
    for name in beside:
        tensors[f"attn.{name}.weight"] = torch.rand(E, E)
    return attention, tensors


@torch.no_grad()
@pytest.mark.parametrize("output", ["fc", "dense", "proj", "fc_out"])
def test_an_output_that_may_be_the_models_is_asked_for(run, answers, output):
    attention, tensors = make_plain(output)

    code, _, complaint = run(tensors)

    assert code == 1 and "no kind of module" not in complaint
    assert f"say --output {output} or --no-output" in complaint
    assert "'attn.': not converted: names do not tell" in run(tensors, "--list")[1]
    assert run(tensors, "--output", output)[0] == 0
    answers(attention(X, X, X)[0])


@torch.no_grad()
def test_of_several_outputs_none_is_guessed(run, answers):
    attention, tensors = make_plain("fc", ["out"])

    assert "say --output out or --output fc or --no-output" in run(tensors)[2]
    assert run(tensors, "--output", "fc")[0] == 0
    answers(attention(X, X, X)[0])


@torch.no_grad()
def test_a_head_beside_projections_is_left_out(run, answers):
    """A model of one attention without an output, and its classifier."""
    attention, tensors = make_plain("fc")
    tensors["attn.fc.weight"], tensors["attn.fc.bias"] = torch.rand(3, E), torch.rand(3)
    attention.out_proj.weight.copy_(torch.eye(E))
    attention.out_proj.bias[:] = 0

    assert "say --output fc or --no-output" in run(tensors)[2]
    code, printed, _ = run(tensors, "--no-output")

    assert code == 0 and "left out: fc.bias, fc.weight" in printed
    answers(attention(X, X, X)[0])


@pytest.mark.parametrize(
    "names",
    [["query", "key", "value", "dense", "LayerNorm"], ["w_qs", "w_ks", "w_vs", "fc"]],
    ids=["albert", "attention is all you need"],
)
def test_an_output_of_a_known_family_is_taken(run, names):
    tensors = {f"attn.{name}.weight": torch.rand(E, E) for name in names}
    tensors.update({"attn.LayerNorm.weight": torch.rand(E)} if len(names) > 4 else {})

    code, printed, _ = run(tensors, "--list")

    assert code == 0 and '"output_projection": true' in printed


@torch.no_grad()
def test_a_layer_with_a_stranger_is_whole_where_it_is_ignored(run, answers):
    encoder, tensors = make_stack()
    for number in range(2):
        tensors[f"encoder.layers.{number}.probe.scale"] = torch.rand(E)
    tensors["encoder.head_norm.weight"] = torch.rand(E)
    ignored = ["--ignore", "probe", "--ignore", "head_norm.weight"]

    assert "'encoder.layers.0.': transformer" not in run(tensors, "--list")[1]
    _, printed, _ = run(tensors, "--layer", "encoder", *WHOLE, *ignored)

    assert "layers.1.probe.scale, head_norm.weight" in printed
    answers(encoder(X))
    assert "left out: probe.scale" in run(tensors, "--list", "--ignore", "probe")[1]


def test_what_an_attention_has_is_told_even_where_it_is_ignored(run):
    _, tensors = make_attention()
    tensors["attn.q_norm.weight"] = torch.rand(8)

    code, _, complaint = run(tensors, "--ignore", "q_norm")

    assert code == 1 and "normalised" in complaint


@pytest.mark.parametrize("option", ["--ignore", "--output"])
def test_a_name_that_is_nowhere_is_an_error(run, option):
    code, _, complaint = run(make_attention()[1], option, "prob")

    assert code == 1 and f"{option} prob: no tensor is called so" in complaint
