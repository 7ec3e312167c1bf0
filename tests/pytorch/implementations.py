# SPDX-License-Identifier: Apache-2.0
"""What the server under test names as a module's implementation."""

import os

REFERENCE = "reference"


def _fuses():
    """Say whether attention is fused here: from AVX2 on, if oneDNN may use it."""
    if os.environ.get("ONEDNN_MAX_CPU_ISA") == "SSE41":
        return False
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        flags = next(line for line in lines if line.startswith("flags"))
    return "avx2" in flags.split()


ONEDNN = "fused" if _fuses() else "primitives"
