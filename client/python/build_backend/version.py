# SPDX-License-Identifier: Apache-2.0
"""The version of the project, which stands in one place."""

import email
import pathlib
import re

_HERE = pathlib.Path(__file__).resolve().parent.parent
_PROJECT = re.compile(r"^project\(attention-server VERSION ([\d.]+)", re.M)


def read():
    """Of CMakeLists.txt at the repository's root; in a source distribution of PKG-INFO.

    RuntimeError where CMakeLists.txt does not say it.
    """
    packed = _HERE / "PKG-INFO"
    if packed.is_file():
        return email.message_from_string(packed.read_text())["Version"]
    path = _HERE.parent.parent / "CMakeLists.txt"
    if found := _PROJECT.search(path.read_text()):
        return found[1]
    raise RuntimeError(f"{path} has no project(attention-server VERSION …)")
