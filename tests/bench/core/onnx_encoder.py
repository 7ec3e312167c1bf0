# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's graphs of encoder layers, for onnx_graphs.py.

Around com.microsoft.MultiHeadAttention are SkipLayerNormalization, BiasGelu and
Relu, as the transformers optimizer makes them; around plain attention ONNX's
own operators, of which the session makes what it can.
Source: https://github.com/microsoft/onnxruntime/blob/v1.21.0/docs/
ContribOperators.md#com.microsoft.SkipLayerNormalization
"""

import math

import numpy as np

import inputs

MICROSOFT = "com.microsoft"
NORM_EPS = 1e-5


def gelu(graph, rows):
    """x Phi(x), as torch exports it."""
    part = graph.node("Div", rows, graph.constant(np.float32(math.sqrt(2))))
    phi = graph.node("Add", graph.node("Erf", part),
                     graph.constant(np.float32(1)))
    return graph.node("Mul", graph.node("Mul", rows, phi),
                      graph.constant(np.float32(0.5)))


def norm(graph, rows, added, weights):
    """The layer normalisation of a sum."""
    scale, bias = (graph.constant(weights[name]) for name in
                   ("weight", "bias"))
    if graph.plain:
        return graph.node("LayerNormalization",
                          graph.node("Add", rows, added), scale, bias,
                          axis=-1, epsilon=NORM_EPS)
    return graph.node("SkipLayerNormalization", added, rows, scale, bias,
                      domain=MICROSOFT, epsilon=NORM_EPS)


def inner(graph, rows, weight, bias):
    """The first linear layer and the activation."""
    if graph.case.activation == "relu":
        if graph.uses_gemm:
            return graph.gemm(rows, weight, bias,
                              lambda matrix: graph.node("Relu", matrix))
        return graph.node("Relu", graph.linear(rows, weight, bias))
    if graph.plain:
        return gelu(graph, graph.linear(rows, weight, bias))
    if graph.uses_gemm:
        return graph.node("Gelu", graph.linear(rows, weight, bias),
                          domain=MICROSOFT)
    return graph.node("BiasGelu", graph.linear(rows, weight),
                      graph.constant(bias), domain=MICROSOFT)


def layer(graph, rows, weights, attention):
    """An encoder layer."""
    attended, _ = attention(graph, rows, rows,
                            inputs.inside(weights, "self_attn."))
    rows = norm(graph, rows, attended, inputs.inside(weights, "norm1."))
    wide = inner(graph, rows, weights["linear1.weight"],
                 weights["linear1.bias"])
    narrow = graph.linear(wide, weights["linear2.weight"],
                          weights["linear2.bias"])
    return norm(graph, rows, narrow, inputs.inside(weights, "norm2."))


def model(graph, attention):
    """The model of a stack of layers with this attention."""
    rows = "query"
    for index in range(graph.case.layers):
        weights = inputs.inside(graph.tensors, f"layers.{index}.")
        rows = layer(graph, rows, weights, attention)
    return graph.model(output=(rows, graph.output_shape))
