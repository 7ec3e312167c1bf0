# SPDX-License-Identifier: Apache-2.0
"""What was probably meant by a name that is not there."""

from __future__ import annotations

import difflib
from typing import Iterable, List


def hint(name: object, names: Iterable[str]) -> str:
    """"; did you mean ...?" of the nearest of `names`; "" where none is near."""
    found = nearest(name, names)
    return f'; did you mean "{found[0]}"?' if found else ""


def nearest(name: object, names: Iterable[str], most: int = 1) -> List[str]:
    """Up to `most` of `names` that are near, the nearest first."""
    return difflib.get_close_matches(str(name), list(names), n=most, cutoff=0.4)
