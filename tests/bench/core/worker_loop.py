# SPDX-License-Identifier: Apache-2.0
"""The peers' side of the protocol core_worker.cc speaks, and its clock.

A peer is an object with hello() -> dict, matmul(dtype, size) -> dict of
functions by name that multiply (rows, depth) by (depth, columns),
prepare(case, folder) -> dict of functions by variant, and a dict of reasons
for the variants it has not; answer(result) turns what such a function returns
into arrays.
"""

import json
import os
import pathlib
import statistics
import sys
import time
import traceback

from cases import Case

WARM_UP_SHARE = 0.2
MEMORY_SHARE = 0.6
# Of a peak, as matmul_peak.cc has them.
PEAK_LIMITS = {"seconds": 1.0, "min_calls": 2, "max_seconds": 3.0}


def measure(call, seconds, min_calls, max_seconds):
    """Warm up, then measure each call: the twin of slot.cc's MeasureSlot."""
    clock = time.perf_counter
    warm = clock() + WARM_UP_SHARE * seconds
    call()
    while clock() < warm:
        call()
    times = []
    cpu_start = time.process_time()
    start = now = clock()
    while now < start + seconds or len(times) < min_calls:
        before = now
        call()
        now = clock()
        times.append(now - before)
        if now > start + max_seconds:
            break
    return {"median_us": statistics.median_high(times) * 1e6,
            "fastest_us": min(times) * 1e6, "calls": len(times),
            "cpus_used": (time.process_time() - cpu_start) / (now - start)}


def too_large(case):
    """Why a variant that keeps all scores cannot be tried, or None.

    It needs them twice in float32, before and after the softmax; the other
    workers need memory too.
    """
    needed = 2 * 4 * case.scores
    with open("/proc/meminfo", encoding="ascii") as lines:
        fields = dict(line.split(":") for line in lines)
    available = 1024 * int(fields["MemAvailable"].split()[0])
    if needed <= MEMORY_SHARE * available:
        return None
    return f"its scores need {needed / 1e9:.1f} GB"


def write_answer(arrays, folder):
    """Write output and, if there are any, weights as float32."""
    for name, array in arrays.items():
        array.tofile(pathlib.Path(folder) / f"{name}.f32")


class Loop:
    """Answers one request after the other for a peer."""

    def __init__(self, peer):
        self._peer = peer
        self._calls = {}

    def hello(self, _request):
        return self._peer.hello()

    def prepare(self, request):
        self._calls = {}
        self._calls, missing = self._peer.prepare(Case(**request["case"]),
                                                  request["folder"])
        first_us = {}
        if request["check"]:
            for name, call in self._calls.items():
                folder = pathlib.Path(request["answers"]) / name
                folder.mkdir(parents=True, exist_ok=True)
                start = time.perf_counter()
                result = call()
                first_us[name] = (time.perf_counter() - start) * 1e6
                write_answer(self._peer.answer(result), folder)
        return {"variants": list(self._calls), "missing": missing,
                "first_us": first_us}

    def run(self, request):
        return measure(self._calls[request["variant"]], request["seconds"],
                       request["min_calls"], request["max_seconds"])

    def peak(self, request):
        rows, depth, columns = size = request["size"]
        calls = self._peer.matmul(request["dtype"], size)
        return {"flops": {
            name: 2e6 * rows * depth * columns
            / measure(call, **PEAK_LIMITS)["fastest_us"]
            for name, call in calls.items()}}

    def release(self, _request):
        self._calls = {}
        return {}


def serve(peer):
    """Answer requests on standard input until it ends."""
    # Nothing else may write among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    loop = Loop(peer)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(loop, request["op"])(request)
        except Exception as error:  # reported to the driver, which ends
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)
