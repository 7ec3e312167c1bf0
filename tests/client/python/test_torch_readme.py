# SPDX-License-Identifier: Apache-2.0
"""client/python/README.md: its examples run, as one program."""

import re

import pytest
from readme import code_blocks


@pytest.fixture
def blocks(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return code_blocks("client/python/README.md", "python", address)


def numbers(line):
    return [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", line)]


def test_the_first_prints_pytorchs_numbers_and_the_same_of_the_server(blocks, capsys):
    exec(blocks[0], {})

    here, there, difference = capsys.readouterr().out.splitlines()
    assert here.startswith("PyTorch:") and there.startswith("server:")
    assert len(numbers(here)) == 4
    assert numbers(there) == pytest.approx(numbers(here), abs=1e-5)
    assert numbers(difference)[0] < 1e-5


def test_all_run_one_after_the_other(blocks, capsys, tmp_path):
    namespace = {}

    for block in blocks:
        exec(block, namespace)

    printed = capsys.readouterr().out
    assert "(2, 10, 256) (2, 4, 10, 10)" in printed
    assert "[(10, 256), (7, 256)]" in printed
    assert "got 3 of shape" in printed
    assert (tmp_path / "weights.png").stat().st_size > 0


def test_the_family_gives_pytorchs_numbers(blocks, capsys):
    """d2l's attentions, a single head, multi-head attention and a block by hand."""
    namespace = {}

    for block in blocks:
        exec(block, namespace)

    differences = [
        numbers(line)[0]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("largest difference")
    ]
    assert len(differences) == 7
    assert max(differences) < 1e-5
