# SPDX-License-Identifier: Apache-2.0
"""Run attention-client against a real attention-server: cli_live_test.py BIN_DIR."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

BIN = pathlib.Path(sys.argv.pop(1))
MODULE = "batch_first"  # (64, 2, batch_first=True), one of the demo's modules


class CliLiveTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)
        subprocess.run([BIN / "make-demo-modules", cls.folder], check=True, capture_output=True)
        cls.server = subprocess.Popen(
            [BIN / "attention-server", "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        cls.target = None
        for line in cls.server.stdout:
            found = re.search(r"listening on (127\.0\.0\.1:\d+)", line)
            if found:
                cls.target = found.group(1)
                break
        assert cls.target, "the server did not start"
        cls.upload(MODULE)

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGTERM)
        cls.server.communicate(timeout=60)
        cls.scratch.cleanup()
        assert cls.server.returncode == 0, cls.server.returncode

    @classmethod
    def client(cls, *arguments, code=0):
        result = subprocess.run(
            [BIN / "attention-client", "--target", cls.target, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == code, f"{arguments}: exit code {result.returncode}, expected {code}\n{result}"
        return result.stdout if code == 0 else result.stdout + result.stderr

    @classmethod
    def upload(cls, name, *options, code=0):
        weights = cls.folder / "modules" / f"{MODULE}.safetensors"
        return cls.client("modules", "upload", name, weights, *options, code=code)

    def test_health_of_server_and_module(self):
        self.assertEqual(self.client("health"), "SERVING\n")
        self.assertEqual(self.client("health", "--module", MODULE), "SERVING\n")
        self.assertIn("NOT_FOUND", self.client("health", "--module", "unknown", code=1))

    def test_lists_and_shows_uploaded_module(self):
        self.assertRegex(self.client("modules", "list"), rf"{MODULE} +ready")
        self.assertRegex(self.client("modules", "show", MODULE), r"implementation  (fused|onednn-matmul)\n")

    def test_uploads_for_another_compute_dtype(self):
        text = self.upload("fast", "--compute-dtype", "bfloat16")

        self.assertIn('"compute_dtype":"COMPUTE_DTYPE_BFLOAT16"', text)
        # Which of them, the machine decides.
        self.assertRegex(text, r"\ncompute dtype   (bfloat16|float32)\n")

    def test_replaces_only_when_told(self):
        self.upload("replaced")
        self.assertIn("ALREADY_EXISTS", self.upload("replaced", code=1))
        self.assertRegex(self.upload("replaced", "--replace"), r"version +2")

    def test_unloads_module(self):
        self.upload("unloaded")
        self.client("modules", "unload", "unloaded")
        self.assertIn("NOT_FOUND", self.client("modules", "unload", "unloaded", code=1))
        self.assertIn("NOT_FOUND", self.client("forward", "unloaded", "--random", "1,2,64", code=1))

    def test_same_request_gives_the_expected_answer(self):
        answer = self.folder / "answer.safetensors"
        request = ("forward", MODULE, "--random", "2,12,64", "--per-head", "--causal", "top-left")

        self.client(*request, "--output", answer)

        self.assertIn("no difference at all", self.client(*request, "--expect", answer))
        self.assertIn("output DIFFERS", self.client(*request, "--seed", "1", "--expect", answer, code=3))

    def test_draws_the_causal_pattern(self):
        text = self.client("forward", MODULE, "--random", "4,64", "--causal", "top-left", "--weights")

        self.assertIn("|@@      |", text)  # the first query sees the first key alone

    def test_bad_shape_fails_with_the_server_text(self):
        text = self.client("forward", MODULE, "--random", "2,12,7", code=1)

        self.assertIn("INVALID_ARGUMENT", text)
        self.assertIn("64", text)

    def test_every_dtype_is_served(self):
        for dtype in ("float32", "float64", "float16", "bfloat16"):
            text = self.client("forward", MODULE, "--random", "2,5,64", "--dtype", dtype)
            self.assertIn(f"output: {dtype} (2, 5, 64)", text)

    def test_bench_verifies_both_loops(self):
        for load in (("--concurrency", "4"), ("--rate", "100")):
            report = json.loads(
                self.client(
                    "bench", MODULE, "--random", "1,8,64", "--warmup", "0.1", "--duration", "0.5", "--json", *load
                )
            )
            self.assertGreater(report["verified"], 0)
            self.assertEqual(report["mismatches"], 0)
            self.assertEqual(set(report["codes"]), {"OK"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
