# SPDX-License-Identifier: Apache-2.0
"""attention-convert on layers that look like attention and compute something else."""

import pytest
import torch
from attention_client import convert
from checkpoints import renamed, write_safetensors

E, H = 16, 2


@pytest.fixture
def listed(tmp_path, capsys):
    """What --list says about tensors."""

    def listed(tensors):
        path = write_safetensors(tmp_path / "listed.safetensors", tensors)
        assert convert.main([path, "--list"]) == 0
        return capsys.readouterr().out

    return listed


def linears(names, width=E):
    return {f"{name}.weight": torch.rand(width, width) for name in names}


LLAMA = linears([f"self_attn.{part}_proj" for part in "qkvo"])
T5 = linears([f"SelfAttention.{part}" for part in "qkvo"])
QKV = {"attn.qkv.weight": torch.rand(3 * E, E), **linears(["attn.proj"])}
HEADS = linears([f"attn.{part}_proj" for part in ("q", "k", "v", "out")])
BERTS = linears(
    [f"attention.self.{part}" for part in ("query", "key", "value")]
    + ["attention.output.dense"]
)
REFUSED = {
    "llama": ({**LLAMA, "input_layernorm.weight": torch.rand(E)}, "rotary"),
    "llama by meta": (
        {
            **linears([f"attention.w{part}" for part in "qkvo"]),
            "attention_norm.weight": torch.rand(E),
        },
        "rotary",
    ),
    "inv_freq": ({**HEADS, "attn.rotary_emb.inv_freq": torch.rand(4)}, "rotary"),
    "roformer": (
        {**BERTS, "embeddings.token_type_embeddings.weight": torch.rand(2, E)},
        "rotary position embeddings or relative ones, as there is no",
    ),
    "esm": (
        {
            **BERTS,
            "attention.LayerNorm.weight": torch.rand(E),
            "LayerNorm.weight": torch.rand(E),
        },
        "rotary",
    ),
    "nystromformer": (
        {**BERTS, "attention.self.conv.weight": torch.rand(H, 1, 3, 1)},
        "a convolution",
    ),
    "longformer": (
        {**BERTS, "attention.self.key_global.weight": torch.rand(E, E)},
        "see others' keys",
    ),
    "t5": (T5, "not scaled"),
    "neox": ({"attention.query_key_value.weight": torch.rand(48, E)}, "interleaved"),
    "modernbert": ({"attn.Wqkv.weight": torch.rand(48, E)}, "rotary"),
    "swin": (
        {**QKV, "attn.relative_position_bias_table": torch.rand(9, H)},
        "relative positions",
    ),
    "sam": ({**QKV, "attn.rel_pos_h": torch.rand(9, 8)}, "relative positions"),
    "normalised": ({**QKV, "attn.q_norm.weight": torch.rand(8)}, "normalised"),
    "dinov3": ({**QKV, "attn.qkv.bias_mask": torch.rand(48)}, "in parts"),
    "dinov3 by timm": (
        {**QKV, "reg_token": torch.rand(1, 4, E)},
        "there is no pos_embed",
    ),
    "dinov3 by hugging face": (
        {
            **linears([f"attention.{part}_proj" for part in "qkvo"]),
            "layer_scale1.lambda1": torch.rand(E),
        },
        "rotary",
    ),
    "gpt-neo": (
        linears([f"attn.attention.{part}_proj" for part in ("q", "k", "v", "out")]),
        "not scaled",
    ),
    "lora": (
        {**HEADS, "attn.q_proj.lora_A.default.weight": torch.rand(2, E)},
        "merge them first",
    ),
    "quantized": ({**HEADS, "attn.q_proj.SCB": torch.rand(E)}, "quantized"),
    "grouped": ({**HEADS, "attn.k_proj.weight": torch.rand(8, E)}, "fewer heads"),
    "one rank of several": (
        {**HEADS, "attn.q_proj.weight": torch.rand(0)},
        "has shape [0]",
    ),
}


@pytest.mark.parametrize("family", REFUSED)
def test_what_no_module_computes_is_refused_and_says_why(
    family, listed, tmp_path, capsys
):
    tensors, why = REFUSED[family]
    layer = "blocks.0." if "reg_token" in tensors else "encoder.layer.0."
    tensors = {
        name if name.startswith(("reg_", "embeddings.")) else f"{layer}{name}": tensor
        for name, tensor in tensors.items()
    }

    printed = listed(tensors)

    assert "no kind of module computes it" in printed and why in printed
    assert "multi_head_attention" not in printed
    path = write_safetensors(tmp_path / "model.safetensors", tensors)
    for layer in ([], ["--layer", printed.split("'")[1]]):
        assert convert.main([path, str(tmp_path / "out"), *layer]) == 1
        assert why in capsys.readouterr().err


def test_positions_of_the_first_layer_are_those_of_all(listed):
    """MPNet's and T5's one table of relative positions."""
    names = [f"attn.{part}" for part in "qkvo"]
    tensors = {
        f"encoder.layer.{number}.{name}": tensor
        for number in range(2)
        for name, tensor in linears(names).items()
    }
    tensors["encoder.relative_attention_bias.weight"] = torch.rand(32, H)
    tensors["decoder.attn.in_proj_weight"] = torch.rand(3 * E, E)
    tensors["decoder.attn.out_proj.weight"] = torch.rand(E, E)

    printed = listed(tensors)

    assert printed.count("relative positions") == 2
    assert printed.count(": multi_head_attention") == 1


def test_what_is_refused_beside_what_is_converted_is_said(tmp_path, capsys):
    tensors = renamed({**LLAMA, "input_layernorm.weight": torch.rand(E)}, {}, "text.0.")
    tensors.update(renamed(QKV, {}, "blocks.0."))
    path = write_safetensors(tmp_path / "model.safetensors", tensors)

    code = convert.main(
        [path, str(tmp_path / "out"), "--torch-defaults", "--num-heads", "2"]
    )

    assert code == 0
    assert "1 left, see --list: rotary" in capsys.readouterr().err


def test_an_encoder_layer_with_more_in_it_is_its_attention_alone(listed):
    """timm's with layer scale."""
    tensors = {**QKV, **linears(["mlp.fc1", "mlp.fc2"])}
    for name in ("norm1.weight", "norm2.weight"):
        tensors[name] = torch.rand(E)
    assert "'blocks.0.': transformer_encoder_layer" in listed(
        renamed(tensors, {}, "blocks.0.")
    )

    tensors["ls1.gamma"] = torch.rand(E)
    printed = listed(renamed(tensors, {}, "blocks.0."))

    assert "'blocks.0.attn.': multi_head_attention\n" in printed
    assert "transformer_encoder" not in printed


@pytest.mark.parametrize("name", ["norm1.weight", "mlp.fc1.weight", "mlp.fc2.weight"])
def test_a_single_number_is_no_part_of_an_encoder_layer(listed, name):
    tensors = {**QKV, **linears(["mlp.fc1", "mlp.fc2"])}
    tensors.update({"norm1.weight": torch.rand(E), "norm2.weight": torch.rand(E)})
    tensors[name] = torch.tensor(1.0)

    printed = listed(renamed(tensors, {}, "blocks.0."))

    assert "'blocks.0.attn.': multi_head_attention\n" in printed
    assert "transformer_encoder" not in printed
