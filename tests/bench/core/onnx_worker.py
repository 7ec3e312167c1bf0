# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's side: python3 onnx_worker.py THREADS, driven by bench_core.py.

Runs the graphs of onnx_graphs.py with inputs and outputs bound to memory that
stays where it is. Variants are the graphs'.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

import inputs
import worker_loop

BUILDER = pathlib.Path(__file__).with_name("onnx_graphs.py")
PROVIDERS = ["CPUExecutionProvider"]


def session_options(threads):
    """Everything optimised, `threads` threads within an operator."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return options


class BoundGraph:
    """A session, its inputs and outputs."""

    def __init__(self, path, threads, tensors):
        self.session = onnxruntime.InferenceSession(
            str(path), session_options(threads), providers=PROVIDERS)
        self._check(threads)
        self._binding = self.session.io_binding()
        self._tensors = {
            source.name: onnxruntime.OrtValue.ortvalue_from_numpy(
                tensors[source.name]) for source in self.session.get_inputs()}
        for name, value in self._tensors.items():
            self._binding.bind_ortvalue_input(name, value)
        self._outputs = {}
        for result in self.session.get_outputs():
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                result.shape, np.float32)
            self._outputs[result.name] = value
            self._binding.bind_ortvalue_output(result.name, value)

    def _check(self, threads):
        options = self.session.get_session_options()
        if (options.intra_op_num_threads != threads
                or options.graph_optimization_level
                != onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
                or self.session.get_providers() != PROVIDERS):
            raise RuntimeError("the session has not the options asked for")

    def __call__(self):
        self.session.run_with_iobinding(self._binding)
        return self._outputs


class OnnxPeer:
    """See worker_loop."""

    def __init__(self, threads):
        self._threads = threads

    def hello(self):
        options = session_options(self._threads)
        return {"version": onnxruntime.__version__,
                "threads": options.intra_op_num_threads,
                "graph_optimization": options.graph_optimization_level.name,
                "execution": options.execution_mode.name,
                "providers": PROVIDERS}

    def _build(self, description, folder, tensors):
        """The graphs by variant, and why others are missing."""
        built = json.loads(subprocess.run(
            [sys.executable, BUILDER, json.dumps(description), folder],
            check=True, capture_output=True, text=True).stdout)
        graphs = {}
        for name in built["variants"]:
            path = pathlib.Path(folder) / f"{name}.onnx"
            graphs[name] = BoundGraph(path, self._threads, tensors)
            path.unlink()
        return graphs, built["missing"]

    def matmul(self, dtype, size):
        if dtype != "float32":
            return {}
        rows = np.random.default_rng(2).random(size[:2], np.float32)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            graphs, _ = self._build(size, folder, {"rows": rows})
        return {"MatMul": graphs["matmul"]}

    def prepare(self, case, folder):
        if case.dtype != "float32":
            return {}, {"all": "no bfloat16 kernels for the CPU"}
        return self._build(dataclasses.asdict(case), folder,
                           inputs.read(case, folder))

    @staticmethod
    def answer(result):
        return {name: value.numpy() for name, value in result.items()}


if __name__ == "__main__":
    worker_loop.serve(OnnxPeer(int(sys.argv[1])))
