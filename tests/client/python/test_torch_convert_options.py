# SPDX-License-Identifier: Apache-2.0
"""The command line of attention-convert, before any file is read."""

import subprocess
import sys

import pytest
from attention_client import convert


@pytest.mark.parametrize(
    "mistyped, nearest",
    [
        (["--num-haeds", "4"], "--num-heads"),
        (["--lits"], "--list"),
        (["--no-batchfirst"], "--no-batch-first"),
        (["-key", "x"], "--key"),
        (["--layr=x"], "--layer"),
    ],
)
def test_a_mistyped_option_offers_the_nearest(mistyped, nearest, capsys):
    with pytest.raises(SystemExit) as exit:
        convert.main([*mistyped, "model.pt", "out"])

    assert exit.value.code == 2
    assert f"did you mean {nearest}?" in capsys.readouterr().err


def test_says_its_version():
    program = "from attention_client.convert import main; main(['--version'])"

    result = subprocess.run([sys.executable, "-c", program], capture_output=True)

    assert result.stdout.startswith(b"attention-convert 0.")
    assert result.returncode == 0


@pytest.mark.parametrize(
    "option", [["--folder"], ["--num-heads", "0"], ["--dropout=2"]]
)
def test_options_that_cannot_be_meant_are_an_error(option, capsys):
    with pytest.raises(SystemExit) as exit:
        convert.main(["model.pt", "out.safetensors", *option])

    assert exit.value.code == 2
