# SPDX-License-Identifier: Apache-2.0
"""The code in a README, as it stands there."""

import pathlib
import re
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[3]
ADDRESS = "127.0.0.1:50051"


class Block(NamedTuple):
    file: str
    line: int
    language: str
    text: str


def blocks(path):
    """Every fenced block of a file of the repository, in order."""
    text = (ROOT / path).read_text()
    return [
        Block(path, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.M | re.S)
    ]


def code_blocks(path, language, address):
    """Text of the blocks of a language, calling `address`."""
    found = [block for block in blocks(path) if block.language == language]
    assert found, f"{path} has no {language} block"
    return [block.text.replace(ADDRESS, address) for block in found]
