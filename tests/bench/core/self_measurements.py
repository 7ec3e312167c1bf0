# SPDX-License-Identifier: Apache-2.0
"""What the core costs beside itself: masks, weights, memory, odd inputs.

Each measurement is a list of findings: {"what", "value", "unit", "limit"}; a
finding keeps its limit when value <= limit. Alternatives are measured in
turns, so that a drift of the machine meets all of them.
"""

import dataclasses
import statistics
import tempfile

import inputs
import workers
from cases import Case, self_case
from measure import STALL_FACTOR

LONG = (2048, 4096, 8192, 16384)
MIB = 1 << 20
DTYPE_BYTES = {"float32": 4, "bfloat16": 2}
# Where a query has which value instead of its own.
SPECIAL = {
    "denormal everywhere": ("everywhere", 1e-40),
    "NaN everywhere": ("everywhere", float("nan")),
    "Inf everywhere": ("everywhere", float("inf")),
    "1e30 everywhere": ("everywhere", 1e30),
    "NaN in one row": ("one row", float("nan")),
    "Inf in one row": ("one row", float("inf")),
}
FIRST_CALL_PROCESSES = 9
# N, L of calls of at most a few milliseconds, of which 100 us can be told from
# noise; and of longer ones, the last beyond the pool's reserve in float32.
SHORT_SHAPES = [(1 + index % 4, 1 + 2 * index) for index in range(40)]
LONG_SHAPES = [(4, 276), (2, 1024), (1, 8192)]


def finding(what, value, unit, limit=None):
    return {"what": what, "value": value, "unit": unit, "limit": limit}


def _prepare(core, case, special=None):
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        inputs.write(case, folder, special)
        return core.ask("prepare", case=dataclasses.asdict(case),
                        folder=folder, check=False)


def _sound(times):
    """The times of slots that nothing disturbed, if those are most of them."""
    found = [time for time in times if time <= STALL_FACTOR * min(times)]
    return found if 2 * len(found) > len(times) else times


def medians(core, options, alternatives):
    """Median time of each (case, special), measured in turns, in us."""
    times = {name: [] for name in alternatives}
    for _ in range(options.repetitions):
        for name, (case, special) in alternatives.items():
            _prepare(core, case, special)
            slot = core.ask("run", variant="", **options.limits())
            times[name].append(slot["median_us"])
    core.ask("release")
    return {name: statistics.median(_sound(found))
            for name, found in times.items()}


def _ratios(core, options, base, others):
    """Findings of the time of `others`, {what: (case, special, limit)}, per
    time of the case `base`."""
    alternatives = {"base": (base, None)}
    alternatives |= {what: other[:2] for what, other in others.items()}
    times = medians(core, options, alternatives)
    return [finding(what, times[what] / times["base"], "x", limit)
            for what, (_, _, limit) in others.items()]


def masks(core, options, dtype):
    """The attention part alone, causal and padded, against all keys."""
    found = []
    for shape, limit in (((1, 512, 768, 12), 0.75),
                         ((1, 2048, 1024, 16), 0.58)):
        base = self_case(shape, dtype, projected=False)
        causal = dataclasses.replace(base, causal=True)
        found += _ratios(core, options, base,
                         {f"causal per full, L = {shape[1]}":
                          (causal, None, limit)})
    base = self_case((8, 512, 768, 12), dtype, projected=False)
    padded = dataclasses.replace(base, padded=True)
    return found + _ratios(core, options, base,
                           {"half of the keys padded per none, L = 512":
                            (padded, None, 0.6)})


def weights(core, options, dtype):
    """Asking for weights against not asking."""
    base = self_case((1, 512, 768, 12), dtype)
    return _ratios(core, options, base, {
        f"weights {kind} per none, L = 512":
        (dataclasses.replace(base, weights=kind), None, limit)
        for kind, limit in (("average", 1.35), ("per_head", None))})


def special_inputs(core, options, dtype):
    """Inputs that slow arithmetic down, against ordinary ones."""
    base = self_case((1, 512, 768, 12), dtype)
    found = _ratios(core, options, base, {
        f"{what} per ordinary": (base, special, 1.2)
        for what, special in SPECIAL.items()})
    causal = dataclasses.replace(base, causal=True)
    return found + _ratios(core, options, causal, {
        "NaN in one row per ordinary, causal":
        (causal, SPECIAL["NaN in one row"], 1.2)})


def growth(core, options, dtype):
    """How the attention part's time grows: 1 is L^2."""
    options = dataclasses.replace(
        options, repetitions=min(options.repetitions, 3), min_calls=1)
    times = medians(core, options, {
        length: (self_case((1, length, 1024, 16), dtype, projected=False),
                 None) for length in LONG})
    base = times[LONG[0]] / LONG[0]**2
    return [finding(f"time of L = {length} per L^2, L = {LONG[0]} is 1",
                    times[length] / length**2 / base, "x", 1.15)
            for length in LONG[1:]]


def memory(bin_dir, threads, dtype):
    """Peak memory above inputs, outputs and weights, in fresh processes."""
    peaks = {}
    for length in LONG[1:]:
        core = workers.start_core(bin_dir, threads)
        prepared = _prepare(core, self_case((1, length, 1024, 16), dtype))
        peaks[length] = core.ask("memory")["growth_bytes"]
        core.close()
    size = DTYPE_BYTES[prepared["compute_dtype"]]
    found = [finding(f"peak memory, 1,{length},1024,16", peak / MIB, "MiB",
                     4 * length * 1024 * size / MIB + 64)
             for length, peak in peaks.items()]
    first, second, third = peaks.values()
    # Twice the lengths apart; growth without any length is linear as well.
    nonlinear = abs((third - second) - 2 * (second - first)) / third
    return found + [finding("peak memory's departure from a line", nonlinear,
                            "of the peak", 0.05)]


def first_calls(bin_dir, threads, dtype):
    """What a shape never seen before costs more than the second time, and what
    a call after a pause costs more."""
    usual = Case(1, 16, 16, 768, 12, dtype)
    runs = []
    for _ in range(FIRST_CALL_PROCESSES):
        core = workers.start_core(bin_dir, threads)
        times = core.ask("first_calls", case=dataclasses.asdict(usual),
                         shapes=SHORT_SHAPES + LONG_SHAPES)["times_us"]
        core.close()
        runs.append(times)
    by_shape = list(zip(*runs))
    short, long = (by_shape[:len(SHORT_SHAPES)], by_shape[len(SHORT_SHAPES):])
    costs = [statistics.median(first - second for first, second, _ in shape)
             for shape in short]
    ratios = [statistics.median(first / second for first, second, _ in shape)
              for shape in long]
    pauses = [paused - second for shape in short for _, second, paused in shape]
    return [finding("first call above the second, median of 40 shapes",
                    statistics.median(costs), "us", 100),
            finding("first call above the second, largest of 40 shapes",
                    max(costs), "us", 100),
            finding("first call per second, largest of 3 long shapes",
                    max(ratios), "x"),
            finding("call after a pause of 10 ms above one without, median",
                    statistics.median(pauses), "us")]


def measure(arguments, options):
    """Measure everything with the most threads; return and print it."""
    threads = max(arguments.threads)
    results = []
    for dtype in arguments.dtypes:
        core = workers.start_core(arguments.bin_dir, threads)
        parts = [lambda part=part: part(core, options, dtype) for part in
                 (masks, weights, special_inputs)]
        if not arguments.quick:
            parts.append(lambda: growth(core, options, dtype))
        parts += [lambda part=part: part(arguments.bin_dir, threads, dtype)
                  for part in (first_calls, memory)]
        for part in parts:
            for found in part():
                found |= {"dtype": dtype, "threads": threads}
                results.append(found)
                print(text(found), flush=True)
        core.close()
    return results


def text(found):
    """A finding as a line."""
    line = (f"{found['what']:56}{found['dtype']:>9}{found['threads']:>4}"
            f"{found['value']:10.2f} {found['unit']}")
    if found["limit"] is not None:
        verdict = "ok" if found["value"] <= found["limit"] else "MISSED"
        line += f"  (at most {found['limit']:g}: {verdict})"
    return line
