# SPDX-License-Identifier: Apache-2.0
"""The harness itself: what it refuses, drops and reports."""

import pathlib
import tempfile
import unittest

import numpy as np

import cases
import inputs
import measure
import proof
import report
from workers import CORE, ONNX, OPENVINO, TORCH

CASE = cases.self_case((1, 4, 8, 2), "float32")


class FakeWorker:
    """Answers with given outputs and medians, in microseconds."""

    def __init__(self, peer, medians, output=1.0, cpus_used=1.0):
        self.peer = self.name = peer
        self.setting = ""
        self.calls = []
        self._medians = {name: list(found) for name, found in medians.items()}
        self._output = np.full(4, output, dtype=np.float32)
        self._cpus_used = cpus_used

    def ask(self, op, **fields):
        if op == "prepare":
            return self._prepare(pathlib.Path(fields["answers"]))
        if op == "run":
            variant = fields["variant"]
            self.calls.append(variant)
            found = self._medians[variant]
            median = found.pop(0) if len(found) > 1 else found[0]
            return {"median_us": median, "cpus_used": self._cpus_used}
        return {}

    def _prepare(self, answers):
        for variant in self._medians:
            folder = answers if self.peer == CORE else answers / variant
            folder.mkdir(exist_ok=True)
            self._output.tofile(folder / "output.f32")
        return {"variants": list(self._medians), "compute_dtype": "float32"}

    def cpu_seconds(self):
        return 0.0

    def huge_page_bytes(self):
        return 0


class FakeTeam:
    threads = 1

    def __init__(self, *workers):
        self.workers = workers


def measure_row(*workers, repetitions=3):
    options = measure.Options(repetitions=repetitions)
    return measure.Row(CASE, FakeTeam(*workers), options).measure()


class RowTest(unittest.TestCase):
    def test_takes_the_fastest_variant_of_each_peer(self):
        row = measure_row(FakeWorker(CORE, {"ours": [10.0]}),
                          FakeWorker(TORCH, {"slow": [15.0], "fast": [12.0]}),
                          FakeWorker(ONNX, {"only": [20.0]}))

        self.assertEqual(row["variant"][TORCH], "fast")
        self.assertAlmostEqual(row["ratio"][TORCH], 1.2)
        self.assertAlmostEqual(row["ratio"][ONNX], 2.0)
        self.assertAlmostEqual(row["ratio_to_best"], 1.2)
        self.assertEqual(row["unsettled"], [])

    def test_takes_the_best_of_three_peers(self):
        row = measure_row(FakeWorker(CORE, {"ours": [10.0]}),
                          FakeWorker(TORCH, {"only": [15.0]}),
                          FakeWorker(ONNX, {"only": [12.0]}),
                          FakeWorker(OPENVINO, {"only": [9.0]}))

        self.assertAlmostEqual(row["ratio"][OPENVINO], 0.9)
        self.assertAlmostEqual(row["ratio_to_best"], 0.9)

    def test_goes_on_where_a_peer_has_no_variant(self):
        row = measure_row(FakeWorker(CORE, {"ours": [10.0]}),
                          FakeWorker(TORCH, {"only": [15.0]}),
                          FakeWorker(OPENVINO, {}))

        self.assertEqual(list(row["ratio"]), [TORCH])

    def test_drops_a_variant_that_cannot_win(self):
        torch = FakeWorker(TORCH, {"slow": [100.0], "fast": [12.0]})

        measure_row(FakeWorker(CORE, {"ours": [10.0]}), torch)

        self.assertEqual(torch.calls.count("slow"), 1)
        self.assertEqual(torch.calls.count("fast"), 3)

    def test_leaves_stalled_slots_out(self):
        torch = FakeWorker(TORCH, {"only": [300.0, 8300.0, 302.0, 301.0]})

        row = measure_row(FakeWorker(CORE, {"ours": [100.0]}), torch,
                          repetitions=4)

        self.assertAlmostEqual(row["median_us"][TORCH], 301.0)
        self.assertEqual(row["unsettled"], [])

    def test_says_when_most_slots_stall(self):
        torch = FakeWorker(TORCH, {"only": [300.0, 8300.0]})

        row = measure_row(FakeWorker(CORE, {"ours": [100.0]}), torch,
                          repetitions=4)

        self.assertEqual(row["unsettled"], [TORCH])
        self.assertEqual(len(torch.calls), 8)

    def test_refuses_another_answer(self):
        for output in (1.001, float("nan")):
            with self.subTest(output), self.assertRaisesRegex(
                    proof.Refused, "differs from the core"):
                measure_row(FakeWorker(CORE, {"ours": [1.0]}),
                            FakeWorker(TORCH, {"only": [1.0]}, output))

    def test_refuses_more_cpus_than_threads(self):
        with self.assertRaisesRegex(proof.Refused, "used 2.00 CPUs"):
            measure_row(FakeWorker(CORE, {"ours": [1.0]}),
                        FakeWorker(TORCH, {"only": [1.0]}, cpus_used=2.0))


class FakeMultiplier(FakeWorker):
    """Multiplies with given operations per second."""

    def __init__(self, peer, **flops):
        super().__init__(peer, {})
        self._flops = flops

    def ask(self, op, **fields):
        return {"flops": self._flops}


class PeakTest(unittest.TestCase):
    def test_is_that_of_the_fastest_of_all(self):
        team = FakeTeam(FakeMultiplier(CORE, ours=3e9, onednn=2e9),
                        FakeMultiplier(TORCH, mm=4e9), FakeMultiplier(ONNX))

        found = measure.matmuls(team, "float32")

        self.assertEqual(len(found), 3 * len(cases.PEAK_SIZES))
        self.assertEqual((found[0]["worker"], found[0]["flops"]), (TORCH, 4e9))
        self.assertIn("4.0 GFLOP/s  PyTorch: mm, 1024 x 1024 x 1024",
                      report.peak_lines("float32", found)[1])


    def test_asks_no_more_of_one_that_cannot_be_it(self):
        team = FakeTeam(FakeMultiplier(CORE, ours=3e9),
                        FakeMultiplier(TORCH, mm=1e8))

        found = measure.matmuls(team, "bfloat16")

        self.assertEqual([matmul["worker"] for matmul in found],
                         [CORE] * len(cases.PEAK_SIZES) + [TORCH])


class ReportTest(unittest.TestCase):
    def test_names_what_takes_longer_with_more_threads(self):
        rows = [{"name": "self", "dtype": "float32", "threads": threads,
                 "unsettled": [], "median_us": {TORCH: median}}
                for threads, median in ((1, 70.0), (2, 8000.0))]

        self.assertEqual(len(report.stalls(rows)), 1)

    def test_has_a_column_for_each_peer(self):
        row = measure_row(FakeWorker(CORE, {"ours": [10.0]}),
                          FakeWorker(TORCH, {"only": [15.0]}),
                          FakeWorker(OPENVINO, {"only": [8.0]}))
        row["share_of_peak"] = 0.5

        text = report.row_text(row)

        self.assertEqual(text.split()[4:11],
                         ["10.0", "15.0", "n/a", "8.0", "1.50", "n/a", "0.80"])
        self.assertEqual(text.index("only"), report.HEADER.index("variants"))

    def test_means_are_of_the_rows_a_peer_has(self):
        full = measure_row(FakeWorker(CORE, {"ours": [10.0]}),
                           FakeWorker(TORCH, {"only": [40.0]}),
                           FakeWorker(ONNX, {"only": [20.0]}))
        partial = measure_row(FakeWorker(CORE, {"ours": [10.0]}),
                              FakeWorker(TORCH, {"only": [10.0]}))

        found = report.summarize([full, partial])["float32"]

        self.assertAlmostEqual(found["geometric_mean_to_best"], 2**0.5)
        self.assertAlmostEqual(found["geometric_mean_to"][TORCH], 2.0)
        self.assertAlmostEqual(found["geometric_mean_to"][ONNX], 2.0)
        self.assertNotIn(OPENVINO, found["geometric_mean_to"])


class FakeHello:
    def __init__(self, peer, **hello):
        self.peer = self.name = peer
        self.hello = {"threads": 2} | hello


class ProofTest(unittest.TestCase):
    def test_refuses_matmuls_of_another_number_of_threads(self):
        for threads in ([1], []):
            with self.subTest(threads), self.assertRaisesRegex(
                    proof.Refused, "MKL has"):
                proof.check(FakeHello(
                    TORCH, mkldnn=True, fast_path=True,
                    blas={"name": "MKL", "threads": threads}), 2)

    def test_refuses_pytorch_without_a_library(self):
        with self.assertRaisesRegex(proof.Refused, "neither MKL nor"):
            proof.check(FakeHello(TORCH, mkldnn=True, fast_path=True,
                                  blas={"name": None, "threads": []}), 2)

    def test_refuses_another_precision_of_openvino(self):
        with self.assertRaisesRegex(proof.Refused, "is bf16, expected f32"):
            proof.check(FakeHello(OPENVINO, properties={
                "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "bf16"}), 2)


class InputsTest(unittest.TestCase):
    def test_reads_what_it_wrote(self):
        case = cases.Case(2, 3, 4, 8, 2, "bfloat16", cross=True, padded=True)
        with tempfile.TemporaryDirectory() as folder:
            inputs.write(case, folder)
            read = inputs.read(case, folder)

        self.assertTrue((read["key_padding"].sum(axis=1) == 2).all())
        for name, values in inputs.make(case).items():
            np.testing.assert_array_equal(read[name], values)

    def test_gives_each_layer_weights_of_its_own(self):
        case = cases.self_case((1, 4, 8, 2), "float32", layers=2,
                               feed_forward=16)

        tensors = inputs.make(case)

        first, second = (inputs.inside(tensors, f"layers.{index}.")
                         for index in range(2))
        self.assertEqual(len(first), 12)
        for name, values in first.items():
            self.assertFalse((values == second[name]).all(), name)

    def test_rounds_to_bfloat16_ties_to_even(self):
        values = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-7],
                          dtype=np.float32)

        np.testing.assert_array_equal(
            inputs.round_to_bfloat16(values),
            np.array([1, 1 + 2**-6, -1 - 2**-7], dtype=np.float32))

    def test_counts_the_operations_of_the_formula(self):
        full = cases.self_case((1, 4, 8, 2), "float32", projected=False)
        causal = cases.self_case((1, 4, 8, 2), "float32", projected=False,
                                 causal=True)

        encoder = cases.self_case((1, 4, 8, 2), "float32", layers=3,
                                  feed_forward=16)

        self.assertEqual(encoder.operations,
                         3 * (full.operations + 2 * 4 * 4 * 8 * 8
                              + 2 * 2 * 4 * 8 * 16))
        self.assertEqual(full.operations, 2 * 2 * 4 * 4 * 8)
        self.assertEqual(causal.operations, 2 * 2 * (1 + 2 + 3 + 4) * 8)


if __name__ == "__main__":
    unittest.main()
