# SPDX-License-Identifier: Apache-2.0
"""attention-convert on whatever files there are: checkpoints of trainers, names that
wrappers change, and files that are no checkpoints."""

import argparse
import gzip
import io
import json
import pickle
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from attention_client import convert
from checkpoints import renamed, write_safetensors
from torch import nn

SAID = ["--num-heads", "2", "--torch-defaults"]


def make_weights(prefix=""):
    torch.manual_seed(3)
    return renamed(nn.MultiheadAttention(8, 2).state_dict(), {}, f"{prefix}attn.")


def trained():
    """A model and its optimizer after a step."""
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(8, 2)})
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.rand(3, 8)
    model["attn"](x, x, x)[0].sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def run(tmp_path, capsys):
    """Converts content, or a file, to a folder; returns (code, printed, complaint)."""

    def run(content, *options):
        path = content
        if not isinstance(content, (str, type(tmp_path))):
            path = tmp_path / "model.pt"
            torch.save(content, path)
        code = convert.main([str(path), str(tmp_path / "out"), *SAID, *options])
        return (code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    "keys",
    [["state_dict"], ["model", "state_dict"], ["net", "a", "b", "c"], ["model_ema"]],
    ids=".".join,
)
def test_a_state_dict_is_found_under_any_keys(run, keys):
    model, optimizer = trained()
    content = model.state_dict()
    for key in reversed(keys):
        content = {
            key: content,
            "epoch": 3,
            "global_step": torch.tensor(7),
            "loss": {"weight": torch.rand(2), "reduction": "mean"},
            "optimizer": optimizer.state_dict(),
            "optimizer_states": [optimizer.state_dict()],
        }

    code, printed, complaint = run(content)

    assert (code, complaint) == (0, "")
    assert "multi_head_attention 'attn.', 4 tensors" in printed


def test_one_state_dict_under_two_keys_is_found_under_both(run):
    weights = make_weights()

    code, _, _ = run({"best": weights, "last": weights}, "--key", "last")

    assert code == 0


def test_a_dict_that_holds_itself_is_read(run):
    content = {"state_dict": make_weights()}
    content["state_dict"]["itself"] = content["state_dict"]

    assert run(content, "--key", "state_dict")[0] == 0


def refer(to, count):
    """A dict with many keys for one and the same."""
    return {f"k{number}": to for number in range(count)}


@pytest.mark.parametrize("key", ["itself", "deep"])
def test_dicts_that_are_at_very_many_places_end(run, tmp_path, key):
    """A file of a few kilobytes: 30^7 paths lead to the last dict."""
    content = {"state_dict": make_weights()}
    if key == "itself":
        content["state_dict"].update(refer(content["state_dict"], 30))
        assert run(content, "--key", "state_dict")[0] == 0
        return
    deep = refer(1, 30)
    for _ in range(7):
        deep = refer(deep, 30)
    code, _, complaint = run({**content, "deep": deep})
    assert code == 1 and "entries in its dicts" in complaint


def test_two_state_dicts_under_one_name_are_an_error(run):
    content = {"a.b": make_weights(), "a": {"b": make_weights()}}

    code, _, complaint = run(content)

    assert code == 1 and "holds two state dicts under a.b" in complaint


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cu124", "2.5.0a0", "unknown"])
def test_a_pytorch_that_may_execute_files_is_not_used(run, monkeypatch, version):
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("loaded"))

    code, _, complaint = run(make_weights())

    assert code == 1
    assert "CVE-2025-32434" in complaint and ".safetensors" in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("version", ["2.6.0", "2.10.1", "3.0"])
def test_later_pytorch_is_used(run, monkeypatch, version):
    monkeypatch.setattr(torch, "__version__", version)

    assert run(make_weights())[0] == 0


def test_a_tar_archive_that_begins_as_a_checkpoint_is_refused(run, tmp_path):
    """Its first name is what old checkpoints begin with, and nothing says ustar."""
    header = bytearray(512)
    header[:15] = saved(_use_new_zipfile_serialization=False)[:15]
    header[100:156] = b"0000644\0" + b"0000000\0" * 2 + b"00000000000\0" * 2 + b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "model.pt"
    path.write_bytes(bytes(header) + bytes(1024))
    assert tarfile.is_tarfile(path)

    code, _, complaint = run(path)

    assert code == 1 and "a tar archive" in complaint


def test_of_several_state_dicts_none_is_guessed(run):
    content = {"model": {"state_dict": make_weights()}, "model_ema": make_weights()}

    code, _, complaint = run(content)

    assert code == 1
    assert "say which state dict with --key" in complaint
    assert "model.state_dict, model_ema" in complaint


@pytest.mark.parametrize("key", ["model.state_dict", "model", "model_ema"])
def test_a_key_says_which_state_dict(run, tmp_path, key):
    ema = make_weights()
    ema["attn.in_proj_bias"] += 1
    content = {"model": {"state_dict": make_weights()}, "model_ema": ema}

    code, _, _ = run(content, "--key", key)

    assert code == 0
    written = (tmp_path / "out/attn.safetensors").read_bytes()
    bias = (ema if key == "model_ema" else make_weights())["attn.in_proj_bias"]
    assert bias.numpy().tobytes() in written


def test_a_wrong_key_names_those_that_there_are(run):
    content = {"model": {"state_dict": make_weights()}, "scale": {"w": torch.rand(1)}}

    code, _, complaint = run(content, "--key", "state_dict")

    assert code == 1
    assert "no state dict under 'state_dict'; there are: model.state_dict" in complaint
    assert "scale" not in complaint


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."],
)
def test_what_wrappers_put_before_names_is_left_out(run, prefix):
    weights = make_weights(f"{prefix}layers.0.")
    if prefix == "module.":  # torch.optim.swa_utils.AveragedModel
        weights["n_averaged"] = torch.tensor(3)

    code, printed, _ = run(weights)

    assert code == 0
    assert "layers.0.attn.safetensors: multi_head_attention 'layers.0.attn.'" in printed


@pytest.mark.parametrize(
    "name",
    ["layers.0._orig_mod.attn.", "layers.0.attn._fsdp_wrapped_module."],
)
def test_what_wrappers_put_amid_names_is_left_out(run, name):
    weights = {
        key.replace("layers.0.attn.", name): tensor
        for key, tensor in make_weights("layers.0.").items()
    }

    code, printed, _ = run(weights)

    assert code == 0
    assert "'layers.0.attn.', 4 tensors" in printed


@pytest.mark.parametrize(
    "wanted",
    ["model.layers.0.attn", "layers.0.attn.", "module.layers.0.attn", "layers.0.attn"],
)
def test_a_layer_is_named_with_or_without_what_is_before_it(run, wanted):
    weights = {**make_weights("model.layers.0."), "lm_head.weight": torch.rand(2)}
    weights.update(make_weights("model.layers.1."))

    code, printed, _ = run(weights, "--layer", wanted)

    assert code == 0
    assert "'model.layers.0.attn.'" in printed and "layers.1" not in printed


def test_a_mistyped_layer_offers_the_nearest(run):
    code, _, complaint = run(make_weights("layers.0."), "--layer", "layer.0.atn")

    assert code == 1
    assert "expected one of 'layers.0.attn.'" in complaint


class Config:
    """Of a trainer."""


class Attack:
    def __reduce__(self):
        return (sys.exit, ("executed",))


@pytest.mark.parametrize(
    "brought, named",
    [
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (Config(), "test_torch_convert_files.Config"),
        (Attack(), "sys.exit"),
        (nn.MultiheadAttention(8, 2), "torch.nn.modules.activation.MultiheadAttention"),
    ],
    ids=["namespace", "class of its own", "attack", "model"],
)
def test_a_class_in_a_checkpoint_is_named_and_not_run(run, brought, named):
    code, _, complaint = run(
        {"state_dict": make_weights(), "hyper_parameters": brought}
    )

    assert code == 1
    assert f"holds {named}, which would run code" in complaint
    assert 'torch.load(path, weights_only=False)["state_dict"]' in complaint
    assert complaint.count("\n") == 1 and "\x1b" not in complaint


def npy(save):
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def scripted():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
    return file.getvalue()


def saved(**options):
    file = io.BytesIO()
    torch.save(make_weights(), file, **options)
    return file.getvalue()


WRONG = {
    "empty": (b"", "empty"),
    "npy": (npy(lambda file: np.save(file, np.zeros(3))), "a NumPy array (.npy)"),
    "npz": (npy(lambda file: np.savez(file, a=np.zeros(3))), "NumPy arrays (.npz)"),
    "pickle": (pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
    "zip": (zipped(readme="x"), "a zip archive that holds no checkpoint"),
    "html": (b"\n<!DOCTYPE html><html></html>", "a web page"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12\n",
        "git lfs pull",
    ),
    "json": (b'{"hidden_size": 8}', "JSON, which holds no weights"),
    "gguf": (b"GGUF\x03\x00\x00\x00\x7b" + bytes(50), "a GGUF file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.6.0", "an ONNX model"),
    "torchscript": (scripted(), "torch.jit.load(path).state_dict()"),
    "gzip": (gzip.compress(b"weights"), "compressed by gzip"),
    "cut off": (saved()[:600], "cut off or damaged"),
    "cut off, of old": (
        saved(_use_new_zipfile_serialization=False)[:-500],
        "cut off or damaged",
    ),
    "text": (b"weights\n", "not a checkpoint"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_of_another_kind_is_recognised(run, tmp_path, kind):
    content, text = WRONG[kind]
    path = tmp_path / "model.bin"
    path.write_bytes(content)

    code, _, complaint = run(path)

    assert code == 1
    assert complaint.startswith(f"attention-convert: {path}: ") and text in complaint
    assert complaint.count("\n") == 1


def test_a_folder_names_the_file_in_it(run, tmp_path):
    write_safetensors(tmp_path / "model.safetensors", make_weights())

    code, _, complaint = run(tmp_path)

    assert code == 1
    assert "a folder: name the file in it, such as model.safetensors" in complaint


def test_a_checkpoint_of_old_pytorch_is_read(run, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(saved(_use_new_zipfile_serialization=False))

    assert run(path)[0] == 0


def test_weights_that_are_no_numbers_are_named(run):
    weights = make_weights()
    weights["attn.out_proj.weight"] = torch.zeros(8, 8, dtype=torch.int8)

    code, _, complaint = run(weights)

    assert code == 1
    assert "attn.out_proj.weight is int8: expected one of F64" in complaint


def test_heads_that_do_not_divide_the_width_are_an_error(run, tmp_path):
    code, _, complaint = run(make_weights(), "--num-heads", "3")

    assert code == 1
    assert "--num-heads 3 does not divide its width, 8" in complaint


def test_nothing_is_written_where_one_file_is_there(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/layers.1.attn.safetensors").write_text("mine")

    code, _, complaint = run({**make_weights("layers.0."), **make_weights("layers.1.")})

    assert code == 1 and "exists already" in complaint
    assert (tmp_path / "out/layers.1.attn.safetensors").read_text() == "mine"
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_json_of_an_index_is_told_from_other_json(run, tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": ["x"]}))

    code, _, complaint = run(path)

    assert code == 1 and "expected a weight_map" in complaint
