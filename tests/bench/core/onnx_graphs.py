# SPDX-License-Identifier: Apache-2.0
"""Build ONNX Runtime's graphs of a case, in a process of their own:

    python3 onnx_graphs.py CASE_AS_JSON FOLDER
    python3 onnx_graphs.py [ROWS,DEPTH,COLUMNS] FOLDER

Importing onnx and onnxruntime into one process registers every schema twice.
Weights are initializers, shapes are fixed. Writes FOLDER/VARIANT.onnx and
prints, as JSON, the variants a graph was built of.

"fused" and "packed" are MatMul, com.microsoft.MultiHeadAttention, MatMul,
with one MatMul per projection or one for all; "plain" is MatMul, Softmax,
MatMul. An encoder's layers are onnx_encoder.py's, with one of these within;
its "gemm" is "fused" with Gemm for MatMul and Add. The second form is of
"matmul", of an input "rows" and a weight.
Source: https://github.com/microsoft/onnxruntime/blob/v1.21.0/docs/
ContribOperators.md#com.microsoft.MultiHeadAttention
"""

import json
import math
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import inputs
import onnx_encoder
from cases import Case
from worker_loop import too_large

OPSET = 17
IR_VERSION = 8  # of that opset's time


def as_model(graph):
    return helper.make_model(
        graph, ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET),
                       helper.make_opsetid("com.microsoft", 1)])


class Graph:
    """A graph under construction: names of values, nodes, initializers."""

    def __init__(self, case, tensors, variant):
        self.case = case
        self.tensors = tensors
        self.uses_gemm = variant == "gemm"
        self.plain = variant == "plain"
        self._nodes = []
        self._initializers = []

    def constant(self, array):
        name = f"constant_{len(self._initializers)}"
        array = np.ascontiguousarray(array)
        self._initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op, *sources, outputs=1, domain="", **attributes):
        names = [f"{op}_{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(op, list(sources), names,
                                            domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def linear(self, rows, weight, bias=None):
        """rows W^T + b, with torch's weight (out, in)."""
        if self.uses_gemm and bias is not None:
            return self.gemm(rows, weight, bias)
        product = self.node("MatMul", rows, self.constant(weight.T))
        if bias is None:
            return product
        return self.node("Add", product, self.constant(bias))

    def gemm(self, rows, weight, bias, activation=None):
        """The same, and an activation, by Gemm on a matrix."""
        length, width = self.case.query_length, len(bias)
        matrix = self.node("Reshape", rows, self.constant(
            np.array([-1, weight.shape[1]])))
        product = self.node("Gemm", matrix, self.constant(weight.T),
                            self.constant(bias))
        if activation:
            product = activation(product)
        return self.node("Reshape", product, self.constant(
            np.array([self.case.batch_size, length, width])))

    def linear_out(self, rows, weights):
        return self.linear(rows, weights["out_proj.weight"],
                           weights["out_proj.bias"])

    def model(self, **outputs):
        """The model whose outputs are these values, by name, with shapes."""
        case = self.case
        sources = {"query": (case.batch_size, case.query_length,
                             case.embed_dim)}
        if case.cross:
            sources["key"] = (case.batch_size, case.key_length,
                              case.embed_dim)
        results = []
        for name, (value, shape) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name]))
            results.append(helper.make_tensor_value_info(
                name, TensorProto.FLOAT, shape))
        graph = helper.make_graph(
            self._nodes, "attention",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
             for name, shape in sources.items()],
            results, self._initializers)
        return as_model(graph)

    @property
    def output_shape(self):
        case = self.case
        return (case.batch_size, case.query_length, case.embed_dim)


def input_parts(weights):
    """Weight and bias of q, k and v."""
    return zip(np.split(weights["in_proj_weight"], 3),
               np.split(weights["in_proj_bias"], 3))


def attend(graph, q, k, v, bias=""):
    """com.microsoft.MultiHeadAttention."""
    case = graph.case
    padding = ""
    if case.padded:
        visible = ~graph.tensors["key_padding"]
        padding = graph.constant(visible.astype(np.int32))
    return graph.node(
        "MultiHeadAttention", q, k, v, bias, padding, domain="com.microsoft",
        num_heads=case.num_heads, unidirectional=int(case.causal))


def fused(graph, query, key, weights):
    """One MatMul for each projection; the operator adds their biases."""
    q, k, v = (graph.linear(rows, weight) for rows, (weight, _) in zip(
        (query, key, key), input_parts(weights)))
    bias = graph.constant(weights["in_proj_bias"])
    return graph.linear_out(attend(graph, q, k, v, bias), weights), None


def packed(graph, query, _key, weights):
    """One MatMul for all projections, then a split."""
    rows = graph.linear(query, weights["in_proj_weight"],
                        weights["in_proj_bias"])
    parts = graph.node("Split", rows, outputs=3, axis=2)
    return graph.linear_out(attend(graph, *parts), weights), None


def plain(graph, query, key, weights):
    """The formula in ONNX's own operators; has the weights."""
    case = graph.case
    split = graph.constant(np.array([0, 0, case.num_heads, case.head_dim]))
    axes = {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}
    heads = {}
    for name, rows, (weight, bias) in zip("qkv", (query, key, key),
                                          input_parts(weights)):
        projected = graph.node("Reshape", graph.linear(rows, weight, bias),
                               split)
        heads[name] = graph.node("Transpose", projected, perm=axes[name])
    scores = graph.node("MatMul", heads["q"], heads["k"])
    scale = graph.constant(np.float32(1 / math.sqrt(case.head_dim)))
    scores = graph.node("Mul", scores, scale)
    mask = inputs.score_mask(case, graph.tensors)
    if mask is not None:
        scores = graph.node("Add", scores, graph.constant(mask))
    parts = graph.node("Softmax", scores, axis=-1)
    context = graph.node("Transpose", graph.node("MatMul", parts, heads["v"]),
                         perm=[0, 2, 1, 3])
    context = graph.node("Reshape", context,
                         graph.constant(np.array([0, 0, case.embed_dim])))
    return graph.linear_out(context, weights), parts


def attention_model(graph, attention):
    """The model of attention alone."""
    case = graph.case
    output, weights = attention(graph, "query",
                                "key" if case.cross else "query",
                                graph.tensors)
    outputs = {"output": (output, graph.output_shape)}
    size = (case.query_length, case.key_length)
    if case.weights == "average":
        mean = graph.node("ReduceMean", weights, axes=[1], keepdims=0)
        outputs["weights"] = (mean, (case.batch_size, *size))
    elif case.weights == "per_head":
        outputs["weights"] = (weights, (case.batch_size, case.num_heads,
                                        *size))
    return graph.model(**outputs)


def build(case, folder):
    """Write the graphs; return the variants and why others are missing."""
    tensors = inputs.read(case, folder)
    builders = {"plain": plain}
    missing = {}
    if case.weights != "none":
        missing["fused"] = "MultiHeadAttention has no output for the weights"
    else:
        builders["fused"] = fused
        if case.layers:
            builders["gemm"] = fused
        if not case.cross:
            builders["packed"] = packed
        if reason := too_large(case):
            del builders["plain"]
            missing["plain"] = reason
    make = onnx_encoder.model if case.layers else attention_model
    for name, builder in builders.items():
        graph = Graph(case, tensors, name)
        onnx.save(make(graph, builder), pathlib.Path(folder) / f"{name}.onnx")
    return {"variants": list(builders), "missing": missing}


def build_matmul(size, folder):
    """Write the graph of a product; return what build() does."""
    rows, depth, columns = size
    weight = np.random.default_rng(1).random((depth, columns), np.float32)
    described = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                 for name, shape in (("rows", (rows, depth)),
                                     ("product", (rows, columns)))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weight"], ["product"])],
        "matmul", described[:1], described[1:],
        [numpy_helper.from_array(weight, "weight")])
    onnx.save(as_model(graph), pathlib.Path(folder) / "matmul.onnx")
    return {"variants": ["matmul"], "missing": {}}


def main():
    what, folder = json.loads(sys.argv[1]), sys.argv[2]
    built = (build_matmul(what, folder) if isinstance(what, list)
             else build(Case(**what), folder))
    print(json.dumps(built))


if __name__ == "__main__":
    main()
