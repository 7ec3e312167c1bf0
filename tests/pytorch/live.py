# SPDX-License-Identifier: Apache-2.0
"""What the tests against a live server share.

Every such test is run as `python3 X_test.py --server PATH`, with the generated
attention.v1 modules on PYTHONPATH.
"""

import argparse
import sys
import unittest

import torch

import judge
import remote


class LiveTestCase(unittest.TestCase):
    """Has one server for the tests of a class, and a client of it."""

    server_binary = ""

    @classmethod
    def setUpClass(cls):
        judge.configure_torch()
        server = cls.enterClassContext(remote.AttentionServer(cls.server_binary))
        client = remote.AttentionClient(server.address)
        cls.client = cls.enterClassContext(client)

    def setUp(self):
        torch.manual_seed(20)

    def upload(self, **config):
        """Serve a new module called "m"; returns PyTorch's copy of it."""
        module = judge.make_module(config)
        self.client.upload("m", config, module.state_dict())
        return module

    def assert_close(self, got, want):
        """Compare at PyTorch's default tolerances of got's dtype."""
        judge.assert_close("answer", got, want)

    def assert_same_bits(self, got, want):
        self.assertEqual(got.dtype, want.dtype)
        self.assertEqual(got.shape, want.shape)
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[got.itemsize]
        same = torch.equal(
            got.contiguous().view(bits), want.contiguous().view(bits)
        )
        self.assertTrue(same, f"largest difference {(got - want).abs().max()}")


def main():
    """Run the calling file's tests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="attention-server")
    options, rest = parser.parse_known_args()
    LiveTestCase.server_binary = options.server
    unittest.main(module="__main__", argv=[sys.argv[0], *rest])
