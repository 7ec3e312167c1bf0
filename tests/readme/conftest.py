# SPDX-License-Identifier: Apache-2.0
"""A place in which the commands of a README run, and the programs behind them."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "client/python"))
import readme  # noqa: E402  (found by the line above)

_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")


def pytest_addoption(parser):
    parser.addoption("--bin", required=True, help="folder of the programs")


class Place:
    """Looks like the repository, but for a build folder of its own.

    Its server listens on a free port, which the client's commands call.
    """

    def __init__(self, folder):
        self.folder = folder
        for entry in readme.ROOT.iterdir():
            if entry.name not in ("build", ".git"):
                (folder / entry.name).symlink_to(entry)
        self.environment = {**os.environ, "ATTENTION_LISTEN": "127.0.0.1:0"}
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment["PATH"] = path
        self.address = None
        self._server = None

    def shell(self, script):
        """Run a script, as pasted into a terminal; returns what it prints."""
        result = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert result.returncode == 0, f"exit code {result.returncode}\n{result.stdout}"
        return result.stdout

    def serve(self, script):
        """Run a script whose last command is a server, until `stop`."""
        self._server = subprocess.Popen(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        log = []
        for line in self._server.stdout:
            log.append(line)
            if found := _LISTENING.search(line):
                self.address = found[1]
                self.environment["ATTENTION_TARGET"] = self.address
                return
        raise AssertionError("no server listens:\n" + "".join(log))

    def stop(self):
        """Stop the server; returns the rest of its log."""
        os.killpg(self._server.pid, signal.SIGTERM)
        return self._server.communicate(timeout=60)[0]


@pytest.fixture(scope="session")
def programs(request):
    return pathlib.Path(request.config.getoption("--bin")).resolve()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("place"))
    yield place
    if place.address:
        log = place.stop()
        assert "stopped" in log, log
