# SPDX-License-Identifier: Apache-2.0
"""Every block of code runs as it is printed, in order, or it is said here who runs it."""

import json
import subprocess

import checkpoints
import pytest
import readme
import safetensors.torch
import torch

FILES = (
    "README.md",
    "client/README.md",
    "client/python/README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
)


def elsewhere(reason):
    """The decision not to run a block here."""

    def decision(place, block, programs):
        assert reason

    return decision


def serve(place, block, programs):
    place.serve(block.text)


def shell(place, block, programs):
    place.shell(block.text)


def call_modules(place, block, programs):
    printed = place.shell(block.text)

    assert "batch_first" in printed and "SERVING" in printed
    assert (place.folder / "build/weights.html").stat().st_size > 0


def python(place, block, programs):
    (place.folder / "block.py").write_text(
        block.text.replace(readme.ADDRESS, place.address)
    )
    place.shell("python block.py")


def cpp(place, block, programs):
    program = [programs / "readme_example", place.address]

    assert subprocess.check_output(program, text=True) == "(2, 20, 128)\n"


def write_module(place, block, programs):
    python(place, block, programs)

    place.shell("cp modules/mine.safetensors build/demo/modules")
    assert "mine" in place.shell("./dev client modules load mine")
    place.shell("./dev client forward mine --random 2,5,256")


def describe_folder(place, block, programs):
    """Beside a whole model's weights, one of whose layers it describes."""
    description = json.loads(block.text)
    folder = place.folder / "build/demo/modules/layer"
    folder.mkdir()
    (folder / "config.json").write_text(block.text)
    model = torch.nn.Transformer(512, 8, 1, 1)
    file = folder / description["weights_file"]
    safetensors.torch.save_file(model.state_dict(), file)

    assert "layer" in place.shell("./dev client modules load layer")
    place.shell("./dev client forward layer --random 5,2,512")


def convert(place, block, programs):
    layer = torch.nn.TransformerEncoderLayer(64, 8, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 2).state_dict()
    named = {f"encoder.{name}": tensor for name, tensor in encoder.items()}
    torch.save(named, place.folder / "model.pt")
    safetensors.torch.save_file(named, place.folder / "model.safetensors")
    trained = {"epoch": 3, "state_dict": {"layer": layer.self_attn.state_dict()}}
    torch.save(trained, place.folder / "last.ckpt")
    (place.folder / "vit").mkdir()
    layer = torch.nn.TransformerEncoderLayer(48, 12, activation="gelu").state_dict()
    checkpoints.write_safetensors(
        place.folder / "vit/model.safetensors",
        checkpoints.renamed(
            checkpoints.separate(layer), checkpoints.VIT, "vit.encoder.layer.0."
        ),
    )

    assert "encoder" in place.shell(block.text)


# File, language, how the block begins -> what is done with it.
DECISIONS = {
    ("README.md", "sh", "./dev demo "): elsewhere("`demo` is a test; this is the other"),
    ("README.md", "sh", "docker build"): elsewhere("./dev image runs it, by an engine"),
    ("README.md", "sh", "./dev demo-modules"): serve,
    ("README.md", "sh", "./dev client"): call_modules,
    ("README.md", "python", "# pip install"): python,
    ("README.md", "cpp", "#include"): cpp,
    ("README.md", "python", "import json"): write_module,
    ("README.md", "json", "{"): describe_folder,
    ("client/README.md", "js", ""): elsewhere("npm's packages: ./dev test --online"),
    ("client/README.md", "sh", "at="): elsewhere("needs Go's plugins from the network"),
    ("client/README.md", "go", ""): elsewhere("needs Go's packages from the network"),
    ("client/python/README.md", "sh", "pip install"): elsewhere(
        "the test python_package installs it; from PyPI: ./dev test --online"
    ),
    ("client/python/README.md", "python", ""): elsewhere(
        "test_torch_readme.py runs all of them as one program"
    ),
    ("client/python/README.md", "sh", "attention-convert"): convert,
    ("CONTRIBUTING.md", "sh", "./dev test"): elsewhere("a developer's day"),
    ("CONTRIBUTING.md", "", ""): elsewhere("a picture"),
}
BLOCKS = [block for file in FILES for block in readme.blocks(file)]


def decides(decision, block):
    file, language, beginning = decision
    same_kind = (file, language) == (block.file, block.language)
    return same_kind and block.text.startswith(beginning)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.file}:{block.line}")
def test_runs_as_printed(block, place, programs):
    found = [key for key in DECISIONS if decides(key, block)]

    assert len(found) == 1, f"one decision is needed for:\n{block.text}"
    DECISIONS[found[0]](place, block, programs)


def test_every_decision_is_about_a_block():
    unused = [k for k in DECISIONS if not any(decides(k, block) for block in BLOCKS)]

    assert unused == []
