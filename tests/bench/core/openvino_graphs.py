# SPDX-License-Identifier: Apache-2.0
"""OpenVINO's models of a case.

"sdpa" is a MatMul for each projection, ScaledDotProductAttention, MatMul;
"packed" has one MatMul for the three; "plain" is MatMul, Softmax, MatMul, and
has the weights. The layers of an encoder have one of these within. Weights and
masks are constants, shapes are fixed.
Source: https://docs.openvino.ai/2025/documentation/openvino-ir-format/
operation-sets/operation-specs/sequence/scaled-dot-product-attention.html
"""

import math

import numpy as np
import openvino
from openvino import opset13 as op

import inputs
from worker_loop import too_large

NORM_EPS = 1e-5
SWAP_HEADS = [0, 2, 1, 3]  # (N, L, H, D) and (N, H, L, D)


class Graph:
    """A model under construction."""

    def __init__(self, case, tensors):
        self.case = case
        self.tensors = tensors
        self.query = self._parameter("query", case.query_length)
        self.parameters = [self.query]
        self.key = self.query
        if case.cross:
            self.key = self._parameter("key", case.key_length)
            self.parameters.append(self.key)

    def _parameter(self, name, length):
        shape = [self.case.batch_size, length, self.case.embed_dim]
        return op.parameter(shape, np.float32, name=name)

    @staticmethod
    def linear(rows, weight, bias):
        """rows W^T + b, with torch's weight (out, in)."""
        product = op.matmul(rows, op.constant(weight), False, True)
        return op.add(product, op.constant(bias))

    def heads(self, rows):
        """(N, L, E) as (N, H, L, D)."""
        shape = op.constant([0, 0, self.case.num_heads, self.case.head_dim])
        return op.transpose(op.reshape(rows, shape, True),
                            op.constant(SWAP_HEADS))

    def linear_out(self, context, weights):
        """The output projection of (N, H, L, D)."""
        rows = op.reshape(op.transpose(context, op.constant(SWAP_HEADS)),
                          op.constant([0, 0, self.case.embed_dim]), True)
        return self.linear(rows, weights["out_proj.weight"],
                           weights["out_proj.bias"])


def separate(graph, query, key, weights):
    """q, k, v by one MatMul each."""
    return [graph.heads(graph.linear(rows, *part)) for rows, *part in zip(
        (query, key, key), np.split(weights["in_proj_weight"], 3),
        np.split(weights["in_proj_bias"], 3))]


def together(graph, query, _key, weights):
    """q, k, v by one MatMul and a split."""
    rows = graph.linear(query, weights["in_proj_weight"],
                        weights["in_proj_bias"])
    parts = op.split(rows, op.constant(2), 3)
    return [graph.heads(part) for part in parts.outputs()]


def sdpa(graph, q, k, v):
    """The context, by one operation."""
    case = graph.case
    mask = None
    if case.padded:
        mask = op.constant(inputs.score_mask(case, graph.tensors))
    return op.scaled_dot_product_attention(
        q, k, v, mask, causal=case.causal), None


def plain(graph, q, k, v):
    """The context and the weights, by the formula."""
    case = graph.case
    scale = op.constant(np.float32(1 / math.sqrt(case.head_dim)))
    scores = op.multiply(op.matmul(q, k, False, True), scale)
    mask = inputs.score_mask(case, graph.tensors)
    if mask is not None:
        scores = op.add(scores, op.constant(mask))
    weights = op.softmax(scores, 3)
    return op.matmul(weights, v, False, False), weights


def matmul(size):
    """The model of a product of an input "rows" and a weight."""
    rows, depth, columns = size
    weight = np.random.default_rng(1).random((columns, depth), np.float32)
    source = op.parameter([rows, depth], np.float32, name="rows")
    return openvino.Model([op.matmul(source, op.constant(weight), False,
                                     True)], [source])


def _average(weights):
    return op.reduce_mean(weights, op.constant([1]), False)


def norm(rows, weight, bias):
    """Layer normalisation, as the plugin finds it."""
    normalised = op.mvn(rows, op.constant([2]), True, NORM_EPS, "INSIDE_SQRT")
    return op.add(op.multiply(normalised, op.constant(weight)),
                  op.constant(bias))


def layer(graph, rows, weights, projections, attention):
    """An encoder layer."""
    own = inputs.inside(weights, "self_attn.")
    context, _ = attention(graph, *projections(graph, rows, rows, own))
    rows = norm(op.add(rows, graph.linear_out(context, own)),
                weights["norm1.weight"], weights["norm1.bias"])
    inner = graph.linear(rows, weights["linear1.weight"],
                         weights["linear1.bias"])
    inner = (op.gelu(inner, "erf") if graph.case.activation == "gelu"
             else op.relu(inner))
    inner = graph.linear(inner, weights["linear2.weight"],
                         weights["linear2.bias"])
    return norm(op.add(rows, inner), weights["norm2.weight"],
                weights["norm2.bias"])


def _encoder(graph, projections, attention):
    rows = graph.query
    for index in range(graph.case.layers):
        weights = inputs.inside(graph.tensors, f"layers.{index}.")
        rows = layer(graph, rows, weights, projections, attention)
    return ["output"], openvino.Model([rows], graph.parameters)


def _model(graph, projections, attention):
    """The names of the outputs, and the model."""
    if graph.case.layers:
        return _encoder(graph, projections, attention)
    context, weights = attention(graph, *projections(
        graph, graph.query, graph.key, graph.tensors))
    outputs = {"output": graph.linear_out(context, graph.tensors)}
    if graph.case.weights == "average":
        outputs["weights"] = _average(weights)
    elif graph.case.weights == "per_head":
        outputs["weights"] = weights
    return list(outputs), openvino.Model(list(outputs.values()),
                                         graph.parameters)


def build(case, tensors):
    """The models by variant, each with the names of its outputs, and why
    others are missing."""
    parts = {"plain": (separate, plain)}
    missing = {}
    if case.weights != "none":
        missing["sdpa"] = ("ScaledDotProductAttention has no output for the "
                           "weights")
    else:
        parts["sdpa"] = (separate, sdpa)
        if not case.cross:
            parts["packed"] = (together, sdpa)
        if reason := too_large(case):
            del parts["plain"]
            missing["plain"] = reason
    return {name: _model(Graph(case, tensors), *pair)
            for name, pair in parts.items()}, missing
