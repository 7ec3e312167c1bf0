# SPDX-License-Identifier: Apache-2.0
"""attention-convert on the names and layouts of published models.

Each checkpoint has random weights in a family's names; the module that is made of
it answers as PyTorch does.
"""

import pytest
import torch
from attention_client import convert
from checkpoints import VIT, randomise, renamed, separate, write_safetensors
from torch import nn

E, H, F = 16, 2, 40
ATTENTION = ["--num-heads", str(H), "--batch-first", "--dropout", "0"]
LAYER = [*ATTENTION, "--activation", "gelu", "--layer-norm-eps", "1e-6"]
X = torch.rand(2, 5, E)

# Separate projections by names of PyTorch's layer.
BERT = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
OLD_BERT = {
    **BERT,
    "norm1.weight": "attention.output.LayerNorm.gamma",
    "norm1.bias": "attention.output.LayerNorm.beta",
    "norm2.weight": "output.LayerNorm.gamma",
    "norm2.bias": "output.LayerNorm.beta",
}
DISTILBERT = {
    "self_attn.q_proj": "attention.q_lin",
    "self_attn.k_proj": "attention.k_lin",
    "self_attn.v_proj": "attention.v_lin",
    "self_attn.out_proj": "attention.out_lin",
    "norm1": "sa_layer_norm",
    "linear1": "ffn.lin1",
    "linear2": "ffn.lin2",
    "norm2": "output_layer_norm",
}
CLIP = {
    "norm1": "layer_norm1",
    "linear1": "mlp.fc1",
    "linear2": "mlp.fc2",
    "norm2": "layer_norm2",
}
WHISPER = {
    "norm1": "self_attn_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm2": "final_layer_norm",
}
OPENAI_WHISPER = {
    "self_attn.q_proj": "attn.query",
    "self_attn.k_proj": "attn.key",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "norm1": "attn_ln",
    "linear1": "mlp.0",
    "linear2": "mlp.2",
    "norm2": "mlp_ln",
}
WAV2VEC2 = {
    "self_attn": "attention",
    "norm1": "layer_norm",
    "linear1": "feed_forward.intermediate_dense",
    "linear2": "feed_forward.output_dense",
    "norm2": "final_layer_norm",
}
TIMM = {
    "self_attn.in_proj_weight": "attn.qkv.weight",
    "self_attn.in_proj_bias": "attn.qkv.bias",
    "self_attn.out_proj": "attn.proj",
    "linear1": "mlp.fc1",
    "linear2": "mlp.fc2",
}
OPEN_CLIP = {
    "self_attn": "attn",
    "norm1": "ln_1",
    "linear1": "mlp.c_fc",
    "linear2": "mlp.c_proj",
    "norm2": "ln_2",
}

# Of each family: names, prefix of the first layer, its attention, what has to be said
# about the norms, and whether query, key and value are apart.
FAMILIES = {
    "bert": (BERT, "bert.encoder.layer.{}.", "attention", [], True),
    "bert-of-2018": (OLD_BERT, "bert.encoder.layer.{}.", "attention", [], True),
    "distilbert": (
        DISTILBERT,
        "distilbert.transformer.layer.{}.",
        "attention",
        [],
        True,
    ),
    "vit": (VIT, "vit.encoder.layer.{}.", "attention", [], True),
    "clip": (CLIP, "vision_model.encoder.layers.{}.", "self_attn", [], True),
    "whisper": (
        WHISPER,
        "model.encoder.layers.{}.",
        "self_attn",
        ["--norm-first"],
        True,
    ),
    "bart": (
        WHISPER,
        "model.encoder.layers.{}.",
        "self_attn",
        ["--no-norm-first"],
        True,
    ),
    "openai-whisper": (OPENAI_WHISPER, "encoder.blocks.{}.", "attn", [], True),
    "wav2vec2": (
        WAV2VEC2,
        "wav2vec2.encoder.layers.{}.",
        "attention",
        ["--no-norm-first"],
        True,
    ),
    "timm": (TIMM, "blocks.{}.", "attn", ["--norm-first"], False),
    "open-clip": (
        OPEN_CLIP,
        "visual.transformer.resblocks.{}.",
        "attn",
        ["--norm-first", "--no-add-zero-attn"],
        False,
    ),
}
PRE_NORM = ("vit", "clip", "whisper", "openai-whisper", "timm", "open-clip")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(5)


@pytest.fixture
def serve(client, repository, tmp_path, name):
    """Converts a checkpoint to a module that is served; returns its name."""

    def serve(tensors, *options):
        path = write_safetensors(tmp_path / "model.safetensors", tensors)
        out = repository / f"{name}.safetensors"
        assert convert.main([path, str(out), *options]) == 0
        client.modules.load(name)
        return name

    return serve


def make_family(family, num_layers=2):
    """The layers by PyTorch, and their checkpoint."""
    names, prefix, _, _, apart = FAMILIES[family]
    pre_norm = family in PRE_NORM
    layers = [
        randomise(
            nn.TransformerEncoderLayer(
                E, H, F, 0, "gelu", 1e-6, batch_first=True, norm_first=pre_norm
            )
        )
        for _ in range(num_layers)
    ]
    tensors = {"embeddings.position_ids": torch.arange(4)}
    for number, layer in enumerate(layers):
        state_dict = layer.state_dict()
        state_dict = separate(state_dict) if apart else state_dict
        tensors.update(renamed(state_dict, names, prefix.format(number)))
    return layers, tensors


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_an_attention_of_a_family_answers_as_pytorch(serve, client, family):
    layers, tensors = make_family(family)
    _, prefix, attention, _, _ = FAMILIES[family]

    layer = prefix.format(1) + attention
    name = serve(tensors, "--layer", layer, *ATTENTION, "--no-add-zero-attn")

    close(client.forward(name, X).output, layers[1].self_attn(X, X, X)[0])


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_layer_of_a_family_answers_as_pytorch(serve, client, family):
    layers, tensors = make_family(family)
    _, prefix, _, said, _ = FAMILIES[family]

    name = serve(tensors, "--layer", prefix.format(1), *LAYER, *said)

    close(client.forward(name, X).output, layers[1](X))


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stack_of_a_family_answers_as_pytorch(serve, client, family):
    layers, tensors = make_family(family)
    _, prefix, _, said, _ = FAMILIES[family]

    stack = ".".join(prefix.split(".")[:-3])
    name = serve(tensors, "--layer", stack, *LAYER, *said)

    close(client.forward(name, X).output, layers[1](layers[0](X)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_converted_to_its_attentions(family, tmp_path):
    """Its encoder layers have activations of their own: whole only if asked for."""
    _, tensors = make_family(family)
    _, prefix, attention, _, _ = FAMILIES[family]
    path = write_safetensors(tmp_path / "model.safetensors", tensors)
    out = tmp_path / "out"

    code = convert.main([path, str(out), "--num-heads", str(H), "--torch-defaults"])

    assert code == 0
    assert sorted(file.name for file in out.iterdir()) == [
        f"{prefix.format(number)}{attention}.safetensors" for number in range(2)
    ]


def test_pytorchs_defaults_are_not_those_of_another_family(tmp_path, capsys):
    _, tensors = make_family("whisper")
    path = write_safetensors(tmp_path / "model.safetensors", tensors)
    layer = ["--layer", "encoder.layers.0", "--num-heads", "2", "--torch-defaults"]

    assert convert.main([path, str(tmp_path / "x.safetensors"), *layer]) == 1

    complaint = capsys.readouterr().err
    for field in ("norm_first", "activation", "layer_norm_eps"):
        assert field in complaint
    assert "batch_first" not in complaint and "dropout" not in complaint
    assert "convert 'model.encoder.layers.0.self_attn.' alone" in complaint


@torch.no_grad()
@pytest.mark.parametrize("whole", [False, True])
def test_the_bias_whisper_never_has_is_zero_and_named(serve, client, capsys, whole):
    (layer,), tensors = make_family("whisper", 1)
    del tensors["model.encoder.layers.0.self_attn.k_proj.bias"]
    layer.self_attn.in_proj_bias[E : 2 * E] = 0
    said = [*LAYER, "--norm-first"] if whole else ATTENTION
    prefix = "model.encoder.layers.0" if whole else "model.encoder.layers.0.self_attn"

    name = serve(tensors, "--layer", prefix, *said)

    want = layer(X) if whole else layer.self_attn(X, X, X)[0]
    close(client.forward(name, X).output, want)
    assert "k_proj.bias: not there, zero" in capsys.readouterr().out


@torch.no_grad()
def test_an_attention_to_another_sequence_is_found(serve, client):
    attention = randomise(nn.MultiheadAttention(E, H, batch_first=True))
    state_dict = separate(attention.state_dict())
    tensors = renamed(state_dict, {}, "model.decoder.layers.0.encoder_attn.")

    name = serve(tensors, *ATTENTION)

    memory = torch.rand(2, 7, E)
    want = attention(X, memory, memory)[0]
    close(client.forward(name, X, memory).output, want)


@torch.no_grad()
@pytest.mark.parametrize("bias", ["bias", "q_bias", "none"])
def test_timms_attention_is_found_whatever_biases_it_has(serve, client, capsys, bias):
    """timm without qkv_bias; EVA and VideoMAE, whose keys have none."""
    attention = randomise(nn.MultiheadAttention(E, H, batch_first=True))
    stored = {
        "qkv.weight": attention.in_proj_weight,
        "proj.weight": attention.out_proj.weight,
        "proj.bias": attention.out_proj.bias,
    }
    if bias == "bias":
        stored["qkv.bias"] = attention.in_proj_bias
    elif bias == "q_bias":
        attention.in_proj_bias[E : 2 * E] = 0
        stored["q_bias"] = attention.in_proj_bias[:E].clone()
        stored["v_bias"] = attention.in_proj_bias[2 * E :].clone()
    else:
        attention.in_proj_bias[:] = 0

    name = serve(renamed(stored, {}, "blocks.0.attn."), *ATTENTION)

    close(client.forward(name, X).output, attention(X, X, X)[0])
    printed = capsys.readouterr().out
    assert ("in_proj_bias: not there, zero" in printed) == (bias == "none")
    assert ("the key's part is not there, zero" in printed) == (bias == "q_bias")


@torch.no_grad()
def test_biases_of_another_dtype_than_the_weights_are_joined(serve, client):
    """BEiT's, in bfloat16 beside float32."""
    attention = randomise(nn.MultiheadAttention(E, H, batch_first=True))
    attention.in_proj_weight.copy_(attention.in_proj_weight.bfloat16())
    attention.in_proj_bias[E : 2 * E] = 0
    stored = {
        "qkv.weight": attention.in_proj_weight.bfloat16(),
        "q_bias": attention.in_proj_bias[:E].clone(),
        "v_bias": attention.in_proj_bias[2 * E :].clone(),
        "proj.weight": attention.out_proj.weight,
        "proj.bias": attention.out_proj.bias,
    }

    name = serve(renamed(stored, {}, "blocks.0.attn."), *ATTENTION)

    close(client.forward(name, X).output, attention(X, X, X)[0])


@torch.no_grad()
def test_biases_beside_hugging_faces_projections_are_found(serve, client):
    """VideoMAE: attention.attention.q_bias."""
    (layer,), tensors = make_family("vit", 1)
    prefix = "vit.encoder.layer.0.attention.attention."
    tensors[f"{prefix}q_bias"] = tensors.pop(f"{prefix}query.bias")
    tensors[f"{prefix}v_bias"] = tensors.pop(f"{prefix}value.bias")
    del tensors[f"{prefix}key.bias"]
    layer.self_attn.in_proj_bias[E : 2 * E] = 0

    name = serve(tensors, "--layer", "vit.encoder.layer.0.attention", *ATTENTION)

    close(client.forward(name, X).output, layer.self_attn(X, X, X)[0])


def make_gpt2(conv1d=True):
    """GPT-2's attention: stored (in, out), with its masks; or of linear layers."""
    attention = randomise(nn.MultiheadAttention(E, H, batch_first=True))
    matrices = attention.in_proj_weight.data, attention.out_proj.weight.data
    if conv1d:
        matrices = tuple(matrix.T.contiguous() for matrix in matrices)
    return attention, {
        "wte.weight": torch.rand(7, E),
        "h.0.ln_1.weight": torch.rand(E),
        "h.0.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8).tril(),
        "h.0.attn.masked_bias": torch.tensor(-1e4),
        "h.0.attn.c_attn.weight": matrices[0],
        "h.0.attn.c_attn.bias": attention.in_proj_bias,
        "h.0.attn.c_proj.weight": matrices[1],
        "h.0.attn.c_proj.bias": attention.out_proj.bias,
    }


@torch.no_grad()
@pytest.mark.parametrize("conv1d", [True, False])
def test_gpt2s_attention_answers_as_pytorch(serve, client, capsys, conv1d):
    """Its square matrix lies as the one of the projections does."""
    attention, tensors = make_gpt2(conv1d)

    name = serve(tensors, *ATTENTION)

    hidden = nn.Transformer.generate_square_subsequent_mask(5)
    want = attention(X, X, X, attn_mask=hidden)[0]
    close(client.forward(name, X, causal=True).output, want)
    assert "left out: bias, masked_bias" in capsys.readouterr().out


@torch.no_grad()
def test_a_layer_of_several_dtypes_is_served(serve, client):
    """Norms in float32 beside projections in bfloat16."""
    (layer,), tensors = make_family("vit", 1)
    for name in tensors:
        if "attention.attention" in name:
            tensors[name] = tensors[name].bfloat16()
    halves = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
    for parameter in halves:
        parameter.copy_(parameter.bfloat16())

    name = serve(tensors, "--layer", "vit.encoder.layer.0", *LAYER)

    close(client.forward(name, X).output, layer(X))
