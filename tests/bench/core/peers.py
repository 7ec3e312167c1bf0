# SPDX-License-Identifier: Apache-2.0
"""Where the peers come from: the python that runs each one's worker.

"debian": PyTorch and ONNX Runtime are those of Debian's packages. Debian has no
OpenVINO, so that is PyPI's; a run without network has the one of an earlier
run, or none. "today": the newest of PyPI, all three, or no run at all.
"""

import dataclasses
import sys

from environments import Environment, Unavailable, index_name
from proof import Refused
from workers import ONNX, OPENVINO, TORCH

PACKAGES = {TORCH: "torch", ONNX: "onnxruntime", OPENVINO: "openvino"}
TODAY = (*PACKAGES.values(), "onnx", "numpy")
SMALL = (PACKAGES[OPENVINO], "numpy")
# PyPI's PyTorch brings what a GPU needs; these builds do not. They have a
# later version for pip, and are left alone where nobody answers soon.
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
BRIEFLY = ("--timeout", "10")


@dataclasses.dataclass
class Peers:
    """The peers of a run."""

    kind: str
    pythons: dict  # of each peer that takes part
    versions: dict = dataclasses.field(default_factory=dict)  # from PyPI
    faults: list = dataclasses.field(default_factory=list)

    def proof(self):
        """What is to be known about them, as lines."""
        text = f"peers: {self.kind}"
        if self.versions:
            text += f", from {index_name()} " + ", ".join(
                f"{name} {version}" for name, version in self.versions.items())
        return [text, *self.faults]


def _say(packages, environment):
    print(f"asking {index_name()} for the newest {', '.join(packages)}, into "
          f"{environment.folder}", flush=True)


def debian(cache):
    """Debian's packages, and OpenVINO in a small environment in `cache`."""
    peers = Peers("debian", {TORCH: sys.executable, ONNX: sys.executable})
    environment = Environment(cache / "bench-peers-openvino")
    _say(SMALL, environment)
    failure = ""
    try:
        environment.make()
        environment.ask(PACKAGES[OPENVINO])
        environment.upgrade(SMALL)
    except Unavailable as error:
        failure = str(error)
    peers.versions = environment.versions(SMALL)
    if len(peers.versions) == len(SMALL):
        peers.pythons[OPENVINO] = environment.python
        missed = f"{OPENVINO} may not be the newest"
    else:
        missed = f"{OPENVINO} takes no part"
    if failure:
        peers.faults.append(f"{missed}: {failure}")
    return peers


def _cpu_builds(environment):
    """The options with which pip takes builds without a GPU, if it can."""
    try:
        environment.ask(PACKAGES[TORCH], CPU_BUILDS, BRIEFLY)
    except Unavailable:
        return ()
    return ("--extra-index-url", CPU_BUILDS)


def today(cache):
    """The newest of PyPI in an environment in `cache`; raises Refused."""
    environment = Environment(cache / "bench-peers-today")
    _say(TODAY, environment)
    try:
        environment.make()
        for package in PACKAGES.values():
            environment.ask(package)
        environment.upgrade(TODAY, *_cpu_builds(environment))
    except Unavailable as error:
        raise Refused(f"--peers today: {error}") from error
    return Peers("today", dict.fromkeys(PACKAGES, environment.python),
                 versions=environment.versions(TODAY))


KINDS = {"debian": debian, "today": today}
