# SPDX-License-Identifier: Apache-2.0
"""The code in a README, as it stands there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
_ADDRESS = "127.0.0.1:50051"


def code_blocks(path, language, address):
    """Blocks of a language in a file of the repository, calling `address`."""
    text = (ROOT / path).read_text()
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    assert blocks, f"{path} has no {language} block"
    return [block.replace(_ADDRESS, address) for block in blocks]
