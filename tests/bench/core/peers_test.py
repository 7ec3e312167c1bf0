# SPDX-License-Identifier: Apache-2.0
"""Where the peers come from, when no index answers."""

import os
import pathlib
import shutil
import tempfile
import unittest
from unittest import mock

import peers
import proof
from environments import Environment, index_name
from workers import ONNX, OPENVINO, TORCH

NOBODY = "127.0.0.1:9"
WITHOUT_NETWORK = {"PIP_INDEX_URL": f"http://{NOBODY}/", "PIP_CONFIG_FILE":
                   os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_INDEX": "",
                   "PIP_EXTRA_INDEX_URL": ""}


def pretend_installed(environment, **versions):
    """Have an environment say that it has packages."""
    (packages,) = environment.folder.glob("lib/python*/site-packages")
    for name, version in versions.items():
        folder = packages / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            encoding="ascii")


@mock.patch.dict(os.environ, WITHOUT_NETWORK)
class WithoutNetworkTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.template = pathlib.Path(folder.name) / "template"
        Environment(cls.template).make()

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cache = pathlib.Path(folder.name)
        for name in ("today", "openvino"):
            shutil.copytree(self.template, self.cache / f"bench-peers-{name}",
                            symlinks=True)

    def test_refuses_todays_peers(self):
        with self.assertRaisesRegex(
                proof.Refused, f"{NOBODY} was asked for torch; pip's last "
                "line: ERROR: No matching distribution"):
            peers.today(self.cache)

    def test_refuses_todays_peers_of_an_earlier_day(self):
        pretend_installed(Environment(self.cache / "bench-peers-today"),
                          torch="2.0", onnxruntime="1.0", openvino="2026.1",
                          onnx="1.0", numpy="2.0")

        with self.assertRaisesRegex(proof.Refused, "was asked for torch"):
            peers.today(self.cache)

    def test_goes_on_without_openvino(self):
        found = peers.debian(self.cache)

        self.assertEqual(list(found.pythons), [TORCH, ONNX])
        self.assertRegex(
            "\n".join(found.proof()), f"{OPENVINO} takes no part: {NOBODY} "
            "was asked for openvino; pip's last line: ERROR")

    def test_takes_the_openvino_of_an_earlier_run(self):
        environment = Environment(self.cache / "bench-peers-openvino")
        pretend_installed(environment, openvino="2026.1", numpy="2.0")

        found = peers.debian(self.cache)

        self.assertEqual(found.pythons[OPENVINO], environment.python)
        self.assertIn("openvino 2026.1", found.proof()[0])
        self.assertIn("may not be the newest", found.proof()[1])


class IndexNameTest(unittest.TestCase):
    def test_shows_no_password(self):
        self.assertEqual(index_name("https://me:secret@host:8/simple"),
                         "host:8")


if __name__ == "__main__":
    unittest.main()
