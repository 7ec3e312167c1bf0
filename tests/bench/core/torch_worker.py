# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side: python3 torch_worker.py THREADS, driven by bench_core.py.

Variants: "module" is nn.MultiheadAttention; "sdpa", where no weights are
wanted, is linear, scaled_dot_product_attention, linear; "manual" is linear,
bmm, softmax, bmm, linear. Of an encoder, "module" is nn.TransformerEncoder on
its fast path; "sdpa" is its layers by hand. All in inference mode and eval.
"""

import ctypes
import functools
import math
import os
import pathlib
import re
import sys

import torch
from torch.nn import functional

import inputs
import worker_loop

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def mapped_openblas():
    """Paths of the OpenBLAS libraries mapped in this process."""
    with open("/proc/self/maps", encoding="ascii") as maps:
        return sorted({line.split()[-1] for line in maps
                       if "openblas" in line})


def blas():
    """The library of PyTorch's matmuls, and the threads it has."""
    if torch.backends.mkl.is_available():
        counts = re.findall(r"mkl_get_max_threads\(\) : (\d+)",
                            torch.__config__.parallel_info())
        return {"name": "MKL", "threads": [int(count) for count in counts]}
    libraries = mapped_openblas()
    if not libraries:
        return {"name": None, "threads": []}
    return {"name": f"OpenBLAS {pathlib.Path(libraries[-1]).name}",
            "threads": [ctypes.CDLL(library).openblas_get_num_threads()
                        for library in libraries]}


class Problem:
    """A case's module, tensors and masks."""

    def __init__(self, case, folder):
        self.case = case
        dtype = DTYPES[case.dtype]
        tensors = inputs.read(case, folder)
        self.query = torch.from_numpy(tensors["query"]).to(dtype)
        self.key = self.query
        if case.cross:
            self.key = torch.from_numpy(tensors["key"]).to(dtype)
        self.module = torch.nn.MultiheadAttention(
            case.embed_dim, case.num_heads, batch_first=True, dtype=dtype)
        self.module.load_state_dict(
            {name: torch.from_numpy(tensors[name]).to(dtype)
             for name in self.module.state_dict()})
        self.module.eval()
        # The mask as module, sdpa and manual want it.
        self.padding = self.causal = self.visible = self.added = None
        if case.padded:
            self.padding = torch.from_numpy(tensors["key_padding"])
            hidden = self.padding[:, None, None, :]
            self.visible = ~hidden
            self.added = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(
                hidden, -math.inf)
        if case.causal:
            self.causal = self.added = (
                torch.nn.Transformer.generate_square_subsequent_mask(
                    case.query_length, dtype=dtype))

    def heads(self, rows):
        """(N, L, E) as (N, H, L, D)."""
        return rows.unflatten(-1, (self.case.num_heads, -1)).transpose(1, 2)

    def projections(self):
        """Q, K, V, each (N, H, L, D)."""
        module = self.module
        weight, bias = module.in_proj_weight, module.in_proj_bias
        if not self.case.cross:
            qkv = functional.linear(self.query, weight, bias)
            return [self.heads(part) for part in qkv.chunk(3, dim=-1)]
        width = self.case.embed_dim
        q = functional.linear(self.query, weight[:width], bias[:width])
        kv = functional.linear(self.key, weight[width:], bias[width:])
        return [self.heads(part) for part in (q, *kv.chunk(2, dim=-1))]

    def project_out(self, context):
        return self.module.out_proj(context.transpose(1, 2).flatten(2))


def call_module(problem):
    case = problem.case
    return problem.module(
        problem.query, problem.key, problem.key,
        key_padding_mask=problem.padding, attn_mask=problem.causal,
        is_causal=case.causal, need_weights=case.weights != "none",
        average_attn_weights=case.weights == "average")


def call_sdpa(problem):
    context = functional.scaled_dot_product_attention(
        *problem.projections(), attn_mask=problem.visible,
        is_causal=problem.case.causal)
    return problem.project_out(context), None


def call_manual(problem):
    case = problem.case
    q, k, v = (part.flatten(0, 1) for part in problem.projections())
    scores = torch.bmm(q * (1 / math.sqrt(case.head_dim)), k.transpose(1, 2))
    sizes = (case.batch_size, case.num_heads)
    if problem.added is not None:
        scores.unflatten(0, sizes).add_(problem.added)
    weights = torch.softmax(scores, dim=-1)
    output = problem.project_out(torch.bmm(weights, v).unflatten(0, sizes))
    if case.weights == "none":
        return output, None
    weights = weights.unflatten(0, sizes)
    if case.weights == "average":
        weights = weights.mean(dim=1)
    return output, weights


class EncoderProblem:
    """A stack of encoder layers and its input."""

    def __init__(self, case, folder):
        self.case = case
        dtype = DTYPES[case.dtype]
        tensors = {name: torch.from_numpy(values).to(dtype)
                   for name, values in inputs.read(case, folder).items()}
        self.query = tensors["query"]
        with torch.device("meta"):
            layer = torch.nn.TransformerEncoderLayer(
                case.embed_dim, case.num_heads, case.feed_forward,
                activation=case.activation, batch_first=True, dtype=dtype)
            self.encoder = torch.nn.TransformerEncoder(layer, case.layers)
        self.encoder.load_state_dict(
            {name: tensors[name] for name in self.encoder.state_dict()},
            assign=True)
        self.encoder.eval()


def call_encoder(problem):
    return problem.encoder(problem.query), None


def attend(layer, rows, num_heads):
    """A layer's self-attention by scaled_dot_product_attention."""
    module = layer.self_attn
    qkv = functional.linear(rows, module.in_proj_weight, module.in_proj_bias)
    q, k, v = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2)
               for part in qkv.chunk(3, dim=-1))
    context = functional.scaled_dot_product_attention(q, k, v)
    return module.out_proj(context.transpose(1, 2).flatten(2))


def call_encoder_sdpa(problem):
    rows = problem.query
    for layer in problem.encoder.layers:
        rows = layer.norm1(rows + attend(layer, rows, problem.case.num_heads))
        inner = layer.activation(layer.linear1(rows))
        rows = layer.norm2(rows + layer.linear2(inner))
    return rows, None


class TorchPeer:
    """See worker_loop."""

    def __init__(self, threads):
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.set_grad_enabled(False)

    def hello(self):
        return {"version": torch.__version__,
                "threads": torch.get_num_threads(),
                "blas": blas(),
                "fast_path": torch.backends.mha.get_fastpath_enabled(),
                "mkldnn": torch.backends.mkldnn.is_available(),
                "openmp_environment": {
                    name: value for name, value in sorted(os.environ.items())
                    if name.startswith(("OMP_", "GOMP_", "OPENBLAS_", "MKL_"))}}

    @staticmethod
    def matmul(dtype, size):
        rows, depth, columns = size
        left = torch.rand(rows, depth).to(DTYPES[dtype])
        right = torch.rand(depth, columns).to(DTYPES[dtype])
        product = torch.mm(left, right)
        return {"torch.mm": functools.partial(torch.mm, left, right,
                                              out=product)}

    def prepare(self, case, folder):
        if case.layers:
            problem = EncoderProblem(case, folder)
            return {"module": self._inference(call_encoder, problem),
                    "sdpa": self._inference(call_encoder_sdpa, problem)}, {}
        problem = Problem(case, folder)
        variants = {"module": call_module, "manual": call_manual}
        missing = {}
        if case.weights == "none":
            variants["sdpa"] = call_sdpa
            if reason := worker_loop.too_large(case):
                missing = {"module": reason, "manual": reason}
        for name in missing:
            del variants[name]
        return {name: self._inference(call, problem)
                for name, call in variants.items()}, missing

    @staticmethod
    def _inference(call, problem):
        return torch.inference_mode()(functools.partial(call, problem))

    @staticmethod
    def answer(result):
        output, weights = result
        arrays = {"output": output.float().numpy()}
        if weights is not None:
            arrays["weights"] = weights.float().numpy()
        return arrays


if __name__ == "__main__":
    worker_loop.serve(TorchPeer(int(sys.argv[1])))
