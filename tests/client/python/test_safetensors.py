# SPDX-License-Identifier: Apache-2.0
"""attention-convert on .safetensors files, for which it needs no PyTorch."""

import json
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from attention_client import convert
from checkpoints import write_safetensors
from numpy_attention import WIDTH, assert_close, attention, make_weights

WEIGHTS = make_weights(0)
SAID = ["--num-heads", "4", "--batch-first", "--no-add-zero-attn", "--dropout", "0"]
X = np.random.default_rng(1).random((3, WIDTH), np.float32)


def prefixed(prefix):
    return {f"{prefix}{name}": tensor for name, tensor in WEIGHTS.items()}


def test_a_file_becomes_a_module_without_pytorch(client, repository, name, tmp_path):
    path = write_safetensors(tmp_path / "model.safetensors", prefixed("a.attn."))
    out = repository / f"{name}.safetensors"
    program = (
        "import sys; sys.modules['torch'] = None; "
        "from attention_client.convert import main; sys.exit(main(sys.argv[1:]))"
    )

    subprocess.run([sys.executable, "-c", program, path, str(out), *SAID], check=True)
    client.modules.load(name)

    assert_close(client.forward(name, X).output, attention(WEIGHTS, X)[0])


def test_a_pt_file_without_pytorch_names_the_extra(monkeypatch, tmp_path, capsys):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"")
    monkeypatch.setitem(sys.modules, "torch", None)

    assert convert.main([str(path), "--list"]) == 1

    assert (
        "attention-convert needs PyTorch to read .pt files: "
        'pip install "attention-client[torch]"'
    ) in capsys.readouterr().err


@pytest.fixture
def shards(tmp_path):
    """Writes two files and their index; returns its path."""

    def shards(more=None):
        places = {}
        for number, kind in enumerate(("in_proj", "out_proj")):
            tensors = {n: w for n, w in prefixed("attn.").items() if kind in n}
            file = f"model-{number}.safetensors"
            write_safetensors(tmp_path / file, tensors)
            places.update(dict.fromkeys(tensors, file))
        path = tmp_path / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": {**places, **(more or {})}}))
        return str(path)

    return shards


def test_a_layer_may_lie_in_two_shards(client, repository, name, shards):
    out = repository / f"{name}.safetensors"

    assert convert.main([shards(), str(out), *SAID]) == 0
    client.modules.load(name)

    assert_close(client.forward(name, X).output, attention(WEIGHTS, X)[0])


def test_a_layer_alone_in_a_file_is_called_as_the_file(tmp_path):
    weights = write_safetensors(tmp_path / "model-1.safetensors", WEIGHTS)
    index = tmp_path / "mine.safetensors.index.json"
    places = dict.fromkeys(WEIGHTS, "model-1.safetensors")
    index.write_text(json.dumps({"weight_map": places}))

    for path, name in ((weights, "model-1"), (str(index), "mine")):
        out = tmp_path / f"{name}-out"
        assert convert.main([path, str(out), *SAID]) == 0
        assert [file.name for file in out.iterdir()] == [f"{name}.safetensors"]


@pytest.mark.parametrize(
    "place, text",
    [
        (
            "../model-0.safetensors",
            "expected a weight_map from tensors to files beside",
        ),
        ("/etc/passwd", "expected a weight_map from tensors to files beside"),
        ("..", "expected a weight_map from tensors to files beside"),
        (3, "expected a weight_map from tensors to files beside"),
        ("model-2.safetensors", "model-2.safetensors is not beside it"),
        ("model-0.safetensors", "more.weight is not in model-0.safetensors"),
    ],
)
def test_shards_are_files_beside_the_index_that_hold_what_it_says(
    shards, capsys, place, text
):
    assert convert.main([shards({"more.weight": place}), "--list"]) == 1

    assert text in capsys.readouterr().err


def test_a_shard_that_is_a_git_lfs_pointer_is_recognised(shards, tmp_path, capsys):
    path = shards()
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12\n"
    (tmp_path / "model-1.safetensors").write_text(text)

    assert convert.main([path, "--list"]) == 1

    complaint = capsys.readouterr().err
    assert "model-1.safetensors: a git-LFS pointer" in complaint


def test_a_tensor_left_out_because_it_is_anothers_is_found(tmp_path, capsys):
    """safetensors.torch.save_model writes shared tensors once."""
    tensors = prefixed("a.attn.")
    shared = {f"b.attn.{name}": f"a.attn.{name}" for name in WEIGHTS}
    path = write_safetensors(
        tmp_path / "model.safetensors", tensors, {"format": "pt", **shared}
    )

    assert convert.main([path, "--list"]) == 0

    assert "'b.attn.': multi_head_attention" in capsys.readouterr().out


def one(**fields):
    return {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **fields}}


HEADERS = {
    "list": [],
    "number": {"x": 3},
    "unknown dtype": one(dtype="F1"),
    "no dtype": one(dtype=[]),
    "negative size": one(shape=[-1]),
    "fraction": one(shape=[1.0]),
    "boolean": one(shape=[True]),
    "other size": one(shape=[2]),
    "overflow": one(shape=[2, (1 << 63) - 1]),
    "too many dims": one(shape=[1] * 65),
    "backwards": one(data_offsets=[4, 0]),
    "hole": one(data_offsets=[4, 8]),
    "behind the end": one(shape=[4], data_offsets=[0, 16]),
    "overlap": {**one(), "y": one()["x"]},
    "metadata": {**one(), "__metadata__": {"a": 1}},
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_file_that_is_not_exactly_the_format_is_refused(header, tmp_path, capsys):
    text = json.dumps(HEADERS[header]).encode()
    check_refused(struct.pack("<Q", len(text)) + text + bytes(4), tmp_path, capsys)


@pytest.mark.parametrize(
    "content",
    [
        b"\x02\x00\x00",
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 2) + b"{}" + bytes(1),
        struct.pack("<Q", 4) + b'{"\xff}',
        struct.pack("<Q", 16) + b'{"a": {"a": NaN}',
        struct.pack("<Q", 13) + b'{"a":1,"a":1}',
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
)
def test_a_damaged_header_is_refused(content, tmp_path, capsys):
    check_refused(content, tmp_path, capsys)


def check_refused(content, tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)

    assert convert.main([str(path), "--list"]) == 1

    complaint = capsys.readouterr().err
    assert f"{path}: damaged" in complaint and complaint.count("\n") == 1
