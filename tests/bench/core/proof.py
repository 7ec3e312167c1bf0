# SPDX-License-Identifier: Apache-2.0
"""Whether the peers are at their best, and the machine the same for all."""

import os
import platform

from workers import ONNX, OPENVINO, TORCH

# CPU time per wall time may exceed the threads by the clocks' error.
CPUS_SLACK = 0.15
OPENVINO_WANTED = {"NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}


class Refused(Exception):
    """The comparison would not be fair, or not be one."""


def describe(worker):
    """One line of what a worker says about itself."""
    hello = worker.hello
    text = f"{worker.name}: {hello['threads']} threads"
    if worker.peer == TORCH:
        variables = " ".join(f"{name}={value}" for name, value in
                             hello["openmp_environment"].items())
        text += (f", version {hello['version']}, {hello['blas']['name']} with "
                 f"{hello['blas']['threads'][-1]} threads, mkldnn available,"
                 " fast path on,"
                 f" inference mode, eval, {variables}")
    elif worker.peer == ONNX:
        text += (f", version {hello['version']}, {hello['graph_optimization']}"
                 f", {hello['execution']}, {', '.join(hello['providers'])},"
                 " inputs and outputs bound")
    elif worker.peer == OPENVINO:
        properties = ", ".join(f"{name} {value}" for name, value in
                               hello["properties"].items())
        text += (f", version {hello['version']}, {properties}, the CPU has "
                 f"{' '.join(hello['capabilities'])}, inputs and outputs "
                 "bound")
    return text


def _blas_faults(blas, threads):
    if not blas["name"]:
        return ["neither MKL nor a mapped OpenBLAS: install "
                "libopenblas0-pthread"]
    if not blas["threads"] or any(count != threads
                                  for count in blas["threads"]):
        return [f"{blas['name']} has {blas['threads']} threads, expected "
                f"{threads}"]
    return []


def check(worker, threads):
    """Raise Refused unless a worker is as it should be."""
    hello = worker.hello
    faults = []
    if hello["threads"] != threads:
        faults.append(f"has {hello['threads']} threads, expected {threads}")
    if worker.peer == TORCH:
        faults += _blas_faults(hello["blas"], threads)
        if not hello["mkldnn"]:
            faults.append("torch.backends.mkldnn is not available")
        if not hello["fast_path"]:
            faults.append("the encoder's fast path is off")
    if worker.peer == ONNX:
        if hello["graph_optimization"] != "ORT_ENABLE_ALL":
            faults.append("not all graph optimisations are on")
    if worker.peer == OPENVINO:
        faults += [f"{name} is {hello['properties'][name]}, expected {wanted}"
                   for name, wanted in OPENVINO_WANTED.items()
                   if hello["properties"][name] != wanted]
    if faults:
        raise Refused(f"{worker.name}: {'; '.join(faults)}")


def check_cpus(worker, slot, threads):
    """Raise Refused if a worker used more CPUs than it has threads."""
    if slot["cpus_used"] > threads + CPUS_SLACK:
        raise Refused(f"{worker.name} used {slot['cpus_used']:.2f} CPUs with "
                      f"{threads} threads")


def _first_of(path, field):
    try:
        with open(path, encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith(field):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown"


def machine():
    """What the figures depend on."""
    flags = set(_first_of("/proc/cpuinfo", "flags").split())
    return {"cpu": _first_of("/proc/cpuinfo", "model name"),
            "cpus": len(os.sched_getaffinity(0)),
            "memory": _first_of("/proc/meminfo", "MemTotal"),
            "flags": [flag for flag in ("avx2", "avx512f", "avx512_bf16",
                                        "avx512_fp16", "amx_bf16")
                      if flag in flags],
            "max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
            "kernel": platform.release(), "python": platform.python_version()}
