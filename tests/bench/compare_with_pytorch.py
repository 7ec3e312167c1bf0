# SPDX-License-Identifier: Apache-2.0
"""Measure the core and PyTorch in one run, interleaved, and print the ratio.

PyTorch's side is the better of nn.MultiheadAttention and linear + SDPA +
linear, in inference mode, with as many threads as the core.
"""

import argparse
import json
import statistics
import subprocess
import time

import torch

SHAPES = [(1, 1, 768, 12), (1, 16, 128, 8), (64, 10, 128, 8), (4, 100, 512, 8),
          (2, 50, 256, 4), (1, 128, 768, 12), (8, 128, 768, 12),
          (1, 512, 768, 12), (8, 512, 768, 12), (1, 2048, 1024, 16)]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def composite(module, x):
    """Compute self-attention as linear, SDPA, linear."""
    n, length, embed_dim = x.shape
    heads = module.num_heads
    qkv = torch.nn.functional.linear(x, module.in_proj_weight,
                                     module.in_proj_bias)
    q, k, v = qkv.view(n, length, 3, heads, embed_dim // heads).permute(
        2, 0, 3, 1, 4)
    context = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return module.out_proj(context.transpose(1, 2).reshape(x.shape))


def median_us(function, seconds):
    """Return the median time of calls made during `seconds`, after warm-up."""
    for _ in range(3):
        function()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def torch_us(shape, dtype, seconds):
    """Return PyTorch's better median, in microseconds."""
    n, length, embed_dim, heads = shape
    module = torch.nn.MultiheadAttention(embed_dim, heads, batch_first=True,
                                         dtype=dtype).eval()
    x = torch.rand(n, length, embed_dim).to(dtype)
    with torch.inference_mode():
        return min(
            median_us(lambda: module(x, x, x, need_weights=False), seconds),
            median_us(lambda: composite(module, x), seconds))


def core_us(binary, shape, dtype, threads, seconds):
    """Return the core's mean time over `seconds`, in microseconds."""
    name = "/".join(str(part) for part in (dtype, *shape, threads))
    report = subprocess.run(
        [binary, f"--benchmark_filter=Forward/{name}/real_time$",
         "--benchmark_format=json", f"--benchmark_min_time={seconds}s"],
        capture_output=True, text=True, check=True)
    runs = json.loads(report.stdout)["benchmarks"]
    if len(runs) != 1:
        raise SystemExit(f"{binary}: expected one benchmark {name}")
    return runs[0]["real_time"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("core_bench", help="path of the core_bench executable")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    blas = [line.split()[-1] for line in open("/proc/self/maps",
                                              encoding="ascii")
            if "openblas" in line]
    if not blas or not torch.backends.mkldnn.is_available():
        raise SystemExit("PyTorch lacks OpenBLAS or oneDNN: not at its best")
    print(f"PyTorch {torch.__version__}, {arguments.threads} threads, "
          f"medians of {arguments.repetitions} interleaved repetitions")
    print(f"{'dtype':9}{'N,L,E,H':>18}{'core us':>12}{'PyTorch us':>12}"
          f"{'ratio':>8}")
    for dtype, torch_dtype in DTYPES.items():
        for shape in SHAPES:
            ours, theirs = [], []
            for _ in range(arguments.repetitions):
                ours.append(core_us(arguments.core_bench, shape, dtype,
                                    arguments.threads, arguments.seconds))
                theirs.append(torch_us(shape, torch_dtype, arguments.seconds))
            core, peer = statistics.median(ours), statistics.median(theirs)
            print(f"{dtype:9}{','.join(map(str, shape)):>18}{core:12.1f}"
                  f"{peer:12.1f}{peer / core:8.2f}", flush=True)


if __name__ == "__main__":
    main()
