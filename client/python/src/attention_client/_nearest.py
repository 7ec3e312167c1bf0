# SPDX-License-Identifier: Apache-2.0
"""What was probably meant by a name that is not there."""

from __future__ import annotations

import difflib
from typing import Iterable


def hint(name: object, names: Iterable[str]) -> str:
    """"; did you mean ...?" of the nearest of `names`; "" where none is near."""
    found = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.4)
    return f'; did you mean "{found[0]}"?' if found else ""
