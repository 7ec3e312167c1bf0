# SPDX-License-Identifier: Apache-2.0
"""OpenVINO's side: python3 openvino_worker.py THREADS [default|free].

Driven by bench_core.py. Runs the models of openvino_graphs.py with inputs and
outputs bound to memory that stays where it is, and has the case's dtype.
"free": threads are not pinned to CPUs; "default": as the plugin decides.
"""

import sys

import numpy as np
import openvino
from openvino.preprocess import PrePostProcessor

import inputs
import openvino_graphs
import worker_loop

DEVICE = "CPU"
TYPES = {"float32": openvino.Type.f32, "bfloat16": openvino.Type.bf16}
SETTINGS = {"default": {}, "free": {"ENABLE_CPU_PINNING": False}}
SHOWN = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT",
         "INFERENCE_PRECISION_HINT", "ENABLE_CPU_PINNING")


class Bound:
    """An array of floats in the dtype of a case, and its tensor."""

    def __init__(self, dtype, shape):
        self._dtype = dtype
        self._memory = np.zeros(
            shape, np.float32 if dtype == "float32" else np.uint16)
        self.tensor = openvino.Tensor(self._memory, self._memory.shape,
                                      TYPES[dtype])

    def set(self, values):
        if self._dtype == "bfloat16":
            values = inputs.bfloat16_bits(values)
        self._memory[:] = values

    def floats(self):
        if self._dtype == "bfloat16":
            return inputs.from_bfloat16_bits(self._memory)
        return self._memory


def with_types(model, dtype):
    """The model with inputs and outputs of a dtype; it computes as before."""
    if dtype == "float32":
        return model
    steps = PrePostProcessor(model)
    for index in range(len(model.inputs)):
        steps.input(index).tensor().set_element_type(TYPES[dtype])
    for index in range(len(model.outputs)):
        steps.output(index).tensor().set_element_type(TYPES[dtype])
    return steps.build()


class BoundModel:
    """A compiled model, its inputs, and its outputs by name."""

    def __init__(self, compiled, dtype, names):
        request = compiled.create_infer_request()
        # The wrapper of this class looks for inputs to copy at each call.
        self._infer = super(type(request), request).infer
        self._outputs = {}
        self._inputs = {}
        for place in compiled.inputs:
            bound = Bound(dtype, tuple(place.shape))
            request.set_tensor(place, bound.tensor)
            self._inputs[place.node.get_friendly_name()] = bound
        for name, place in zip(names, compiled.outputs):
            bound = Bound(dtype, tuple(place.shape))
            request.set_tensor(place, bound.tensor)
            self._outputs[name] = bound

    def set_inputs(self, tensors):
        for name, bound in self._inputs.items():
            bound.set(tensors[name])

    def __call__(self):
        self._infer({}, share_outputs=True, decode_strings=False)
        return self._outputs


class OpenvinoPeer:
    """See worker_loop."""

    def __init__(self, threads, setting):
        self._threads = threads
        self._setting = SETTINGS[setting]
        self._core = openvino.Core()

    def _properties(self, dtype):
        # What the device prefers by itself is bfloat16 wherever it can.
        return {"INFERENCE_NUM_THREADS": self._threads, "NUM_STREAMS": "1",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": TYPES[dtype], **self._setting}

    def _compile(self, model, dtype):
        """Compile, and check that the plugin does as it was told."""
        properties = self._properties(dtype)
        compiled = self._core.compile_model(with_types(model, dtype), DEVICE,
                                            properties)
        for name, wanted in properties.items():
            found = compiled.get_property(name)
            if str(found) != str(wanted):
                raise RuntimeError(f"{name} is {found}, expected {wanted}")
        return compiled

    def _capabilities(self):
        return self._core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")

    def _lacks(self, dtype):
        return dtype == "bfloat16" and "BF16" not in self._capabilities()

    def hello(self):
        parameter = openvino.opset13.parameter([1], np.float32)
        compiled = self._compile(openvino.Model(
            [openvino.opset13.relu(parameter)], [parameter]), "float32")
        properties = {name: compiled.get_property(name) for name in SHOWN}
        return {"version": openvino.get_version(),
                "threads": properties["INFERENCE_NUM_THREADS"],
                "properties": {
                    **{name: str(value) for name, value in properties.items()},
                    "INFERENCE_PRECISION_HINT":
                    properties["INFERENCE_PRECISION_HINT"].get_type_name()},
                "capabilities": self._capabilities()}

    def matmul(self, dtype, size):
        if self._lacks(dtype):
            return {}
        model = BoundModel(self._compile(openvino_graphs.matmul(size), dtype),
                           dtype, ["product"])
        values = np.random.default_rng(2).random(size[:2], np.float32)
        model.set_inputs({"rows": inputs.round_to_bfloat16(values)
                          if dtype == "bfloat16" else values})
        return {"MatMul": model}

    def prepare(self, case, folder):
        if self._lacks(case.dtype):
            return {}, {"all": "the plugin has no bfloat16 on this CPU"}
        tensors = inputs.read(case, folder)
        built, missing = openvino_graphs.build(case, tensors)
        models = {}
        for name, (outputs, model) in built.items():
            models[name] = BoundModel(self._compile(model, case.dtype),
                                      case.dtype, outputs)
            models[name].set_inputs(tensors)
        return models, missing

    @staticmethod
    def answer(result):
        return {name: bound.floats() for name, bound in result.items()}


if __name__ == "__main__":
    worker_loop.serve(OpenvinoPeer(int(sys.argv[1]), sys.argv[2]))
