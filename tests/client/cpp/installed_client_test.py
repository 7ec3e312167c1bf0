# SPDX-License-Identifier: Apache-2.0
"""Install the C++ client and build README's program against what was installed.

Arguments: the build to install from, a folder for the results, and the compiler
and flags that the installed libraries were built with.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TESTS / "pytorch"))
import attention_server  # noqa: E402  (found by the line above)

# What README's program includes of ours.
PUBLIC = ["client/cpp/attention_client.h", "core/tensor/random_tensor.h"]
INCLUDE = re.compile(r'^#include "([^"]+)"', re.M)
# oneDNN, and the OpenMP it brings.
SERVER_ONLY = re.compile(r"libdnnl|libgomp|libomp|libiomp")


def parse_arguments():
    parser = argparse.ArgumentParser()
    for name in ("cmake", "build", "folder", "compiler", "flags"):
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_args()


OPTIONS = parse_arguments()
BUILD = pathlib.Path(OPTIONS.build)
FOLDER = pathlib.Path(OPTIONS.folder)
PREFIX = FOLDER / "prefix"
APP = FOLDER / "app"


def run(*command):
    """Run a command; return what it printed."""
    result = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}"
    return result.stdout


def install_client():
    """Into an empty prefix."""
    shutil.rmtree(PREFIX, ignore_errors=True)
    command = [OPTIONS.cmake, "--install", BUILD, "--prefix", PREFIX]
    run(*command, "--component", "client")


def build_app():
    """In a folder that knows nothing of the repository."""
    shutil.rmtree(APP, ignore_errors=True)
    shutil.copytree(TESTS / "client/cpp/app", APP)
    run(sys.executable, TESTS / "readme/write_example.py", APP / "main.cc")
    run(
        OPTIONS.cmake,
        *("-S", APP, "-B", APP / "build", "-G", "Ninja"),
        f"-DCMAKE_PREFIX_PATH={PREFIX}",
        f"-DCMAKE_CXX_COMPILER={OPTIONS.compiler}",
        f"-DCMAKE_CXX_FLAGS={OPTIONS.flags}",
    )
    run(OPTIONS.cmake, "--build", APP / "build")


def included(names, folder):
    """These headers, and every one that they include of a folder's."""
    found = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found and (folder / name).is_file():
            found.add(name)
            waiting += INCLUDE.findall((folder / name).read_text())
    return found


class InstalledClientTest(unittest.TestCase):
    """One installation for all cases."""

    @classmethod
    def setUpClass(cls):
        install_client()
        build_app()

    def test_program_calls_a_server(self):
        with tempfile.TemporaryDirectory() as scratch:
            run(BUILD / "bin/make-demo-modules", scratch)
            options = ("--modules", f"{scratch}/modules", "--load", "all")
            server = str(BUILD / "bin/attention-server")
            with attention_server.AttentionServer(server, *options) as running:
                printed = run(APP / "build/app", running.address)

        self.assertEqual(printed, "(2, 20, 128)\n")

    def test_installs_the_headers_a_program_needs_and_no_others(self):
        folder = PREFIX / "include/attention-server"
        headers = {str(path.relative_to(folder)) for path in folder.rglob("*.h")}

        self.assertEqual(headers, included(PUBLIC, TESTS.parent))

    def test_names_no_folder_of_the_build(self):
        for path in PREFIX.rglob("*.cmake"):
            self.assertNotIn(str(TESTS.parent), path.read_text(), path)

    def test_links_no_onednn(self):
        for program in (APP / "build/app", BUILD / "bin/attention-client"):
            libraries = run("ldd", program)

            self.assertIn("libgrpc", libraries)
            self.assertNotRegex(libraries, SERVER_ONLY, program)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
