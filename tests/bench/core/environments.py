# SPDX-License-Identifier: Apache-2.0
"""Virtual environments with what PyPI, or the index pip is told of, has."""

import os
import subprocess
import sys
import urllib.parse

PYPI = "https://pypi.org/simple"
# One more try, and nothing kept beside what is installed.
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input",
       "--no-cache-dir", "--retries", "1")


class Unavailable(Exception):
    """pip did not get what it was asked for."""


def index_name(url=None):
    """The host of an index, by default of PIP_INDEX_URL's or PyPI, without
    anyone's password."""
    url = url or os.environ.get("PIP_INDEX_URL") or PYPI
    return urllib.parse.urlsplit(url).netloc.rpartition("@")[2]


def _last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


class Environment:
    """A virtual environment in a folder, which need not be there yet."""

    def __init__(self, folder):
        self.folder = folder
        self.python = folder / "bin/python"

    def _run(self, *arguments):
        return subprocess.run([str(self.python), *arguments], text=True,
                              capture_output=True, check=False)

    def make(self):
        """Make it, unless it is there and has a pip that works."""
        if (self.python.exists()
                and self._run(*PIP, "--version").returncode == 0):
            return
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(self.folder)],
            text=True, capture_output=True, check=False)
        if made.returncode != 0:
            raise Unavailable(f"{self.folder} cannot be made: "
                              f"{_last_line(made.stdout + made.stderr)}")

    def _pip(self, what, *arguments, index=None):
        found = self._run(*PIP, *arguments)
        if found.returncode != 0:
            raise Unavailable(
                f"{index_name(index)} was asked for {what}; pip's last line: "
                f"{_last_line(found.stdout + found.stderr)}")

    def ask(self, package, index=None, patience=()):
        """Raise Unavailable unless the index has the package.

        `pip install --upgrade` is content with what is installed where no
        index answers.
        """
        options = ["--index-url", index] if index else []
        self._pip(package, *patience, "index", "versions", package, *options,
                  index=index)

    def upgrade(self, packages, *options):
        """Install the newest of each, or raise Unavailable."""
        self._pip(" ".join(packages), "install", "--upgrade", *options,
                  *packages)

    def versions(self, packages):
        """Version of each package that is installed."""
        program = (
            "import sys\n"
            "from importlib.metadata import PackageNotFoundError, version\n"
            "for name in sys.argv[1:]:\n"
            "    try:\n"
            "        print(name, version(name))\n"
            "    except PackageNotFoundError:\n"
            "        pass\n")
        if not self.python.exists():
            return {}
        printed = self._run("-c", program, *packages).stdout
        return dict(line.split() for line in printed.splitlines())
