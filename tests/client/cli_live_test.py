# SPDX-License-Identifier: Apache-2.0
"""Run attention-client against a real attention-server: cli_live_test.py BIN_DIR."""

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import tempfile
import unittest

BIN = pathlib.Path(sys.argv.pop(1))
MEASURED = r"measuring [0-9.]+ of \d+ s: [1-9]"  # the progress once something is answered
MODULE = "batch_first"  # (64, 2, batch_first=True), one of the demo's modules


class LiveServer(unittest.TestCase):
    """A server with one module, and the client to call it."""

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


class CliLiveTest(LiveServer):
    def test_health_of_server_and_module(self):
        self.assertEqual(self.client("health"), "SERVING\n")
        self.assertEqual(self.client("health", "--module", MODULE), "SERVING\n")
        self.assertIn("NOT_FOUND", self.client("health", "--module", "unknown", code=1))

    def test_lists_and_shows_uploaded_module(self):
        self.assertRegex(self.client("modules", "list"), rf"{MODULE} +ready")
        self.assertRegex(self.client("modules", "show", MODULE), r"implementation  (fused|primitives)\n")

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

    def test_both_programs_tell_one_version(self):
        server = subprocess.run([BIN / "attention-server", "--version"], capture_output=True, text=True, check=True)

        first, *computing = server.stdout.splitlines()
        self.assertEqual(self.client("--version").split(), ["attention-client", first.removeprefix("attention-server ")])
        self.assertRegex(computing[0], r"^float32 modules: (fused|primitives) in float32 with (SSE4\.1|AVX2|AVX-512)$")
        self.assertRegex(computing[1], r"^bfloat16 modules: (fused|primitives) in (bfloat16 with |float32 with )")

    def test_proxies_are_not_asked_for_this_machine(self):
        proxy = "http://127.0.0.1:9"  # nobody listens there
        for target in (self.target, self.target.replace("127.0.0.1", "localhost")):
            result = subprocess.run(
                [BIN / "attention-client", "health", "--target", target],
                env={**os.environ, "http_proxy": proxy, "grpc_proxy": proxy},
                capture_output=True,
                text=True,
            )
            self.assertEqual(result.stdout, "SERVING\n", result.stderr)

    def test_results_that_cannot_be_written_are_an_error(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [BIN / "attention-client", "--target", self.target, "modules", "list"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )

        self.assertEqual(result.returncode, 1)
        self.assertIn("cannot be written", result.stderr)



class BenchRunTest(LiveServer):
    """A real process whose stderr is a terminal, on which its progress can be waited for."""

    def start(self, *options, stdout=subprocess.PIPE, stderr=None):
        self.terminal, side = pty.openpty()
        process = subprocess.Popen(
            [BIN / "attention-client", "--target", self.target, "bench", MODULE, "--random", "1x8x64", *options],
            stdout=stdout,
            stderr=side if stderr is None else stderr,
            text=True,
        )
        os.close(side)
        self.addCleanup(os.close, self.terminal)
        return process

    def wait_for(self, pattern):
        """Read the terminal until something is there."""
        shown = ""
        while not re.search(pattern, shown):
            shown += os.read(self.terminal, 4096).decode()

    def test_interrupted_run_reports_until_then(self):
        for load in (("--concurrency", "4"), ("--rate", "100")):
            process = self.start("--warmup", "0", "--duration", "3600", *load)
            self.wait_for(MEASURED)
            process.send_signal(signal.SIGINT)
            text = process.communicate(timeout=60)[0]

            self.assertEqual(process.returncode, 130)
            self.assertRegex(text, r"INTERRUPTED after \d+\.\d\d of 3600 s; \d+ requests were cancelled\n")
            self.assertRegex(text, r"status      OK [1-9]\d*\n")
            self.assertRegex(text, r"verified    [1-9]\d* answers, 0 differ")

    def test_terminated_run_reports_as_json(self):
        process = self.start("--warmup", "0", "--duration", "3600", "--json")
        self.wait_for(MEASURED)
        process.send_signal(signal.SIGTERM)
        report = json.loads(process.communicate(timeout=60)[0])

        self.assertEqual(process.returncode, 143)
        self.assertTrue(report["interrupted"])
        self.assertEqual(set(report["codes"]), {"OK"})
        self.assertGreater(report["elapsed_ns"], 0)
        self.assertLess(report["elapsed_ns"], report["duration_ns"])

    def test_interrupted_warmup_has_measured_nothing(self):
        process = self.start("--warmup", "3600")
        self.wait_for("warming up ")
        process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=60)[0]

        self.assertEqual(process.returncode, 130)
        self.assertIn("INTERRUPTED during the warm-up, nothing measured yet", text)

    def test_progress_is_one_line_and_leaves_nothing_behind(self):
        process = self.start("--warmup", "0", "--duration", "1")
        process.communicate(timeout=60)
        shown = ""
        try:
            while True:
                shown += os.read(self.terminal, 4096).decode()
        except OSError:  # how a terminal without a process ends
            pass

        self.assertEqual(process.returncode, 0)
        self.assertRegex(shown, r"measuring \d\.\d of 1 s: \d+ answered, \d+\.\d/s, 0 failed")
        self.assertNotIn("\n", shown)
        self.assertRegex(shown, r"\r +\r$")

    def test_nothing_is_shown_where_stderr_is_no_terminal(self):
        process = self.start("--warmup", "0", "--duration", "0.5", stderr=subprocess.PIPE)

        self.assertEqual(process.communicate(timeout=60)[1], "")
        self.assertEqual(process.returncode, 0)

    def test_second_signal_ends_at_once(self):
        reader, writer = os.pipe()  # full: writing the report takes for ever
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
        process = self.start("--warmup", "0", "--duration", "3600", stdout=writer)
        self.wait_for(MEASURED)
        process.send_signal(signal.SIGINT)
        self.wait_for(" " * 20 + "\r")  # the run is over, its line gone
        process.send_signal(signal.SIGINT)

        self.assertEqual(process.wait(timeout=60), -signal.SIGINT)
        os.close(reader)
        os.close(writer)


if __name__ == "__main__":
    unittest.main(verbosity=2)
