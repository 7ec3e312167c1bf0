# SPDX-License-Identifier: Apache-2.0
"""One row of the table: check that all compute the same, then time in turns."""

import dataclasses
import pathlib
import statistics
import tempfile
import time

import numpy as np

import inputs
import proof
from cases import PEAK_SIZES, TOLERANCES
from workers import CORE

# A slot begins when no worker has used more of a CPU than IDLE_CPUS for this
# long: the threads of the slot before spin for a while.
SETTLE_SECONDS = 0.01
SETTLE_TRIES = 200
# A slot this much slower than its best fellow did not measure the program: two
# threads shared a CPU (see workers.TORCH_WAITING), or something else ran.
STALL_FACTOR = 1.3
STALL_US = 6000
# A peer's variant this much slower than its best one is not measured further,
# as a row takes the best: after the first and after later repetitions.
HOPELESS = (2.0, 1.3)
# The first call, which checks the answer, decides only between long times.
HOPELESS_FIRST = 2.0
LONG_US = 1e6
# A worker whose matmul reaches less of the best so far is not asked for more.
HOPELESS_MATMUL = 0.1
# An idle worker that uses more of a CPU than this disturbs the others.
IDLE_CPUS = 0.1
SLOT_TRIES = 5


@dataclasses.dataclass
class Options:
    """How long to measure."""

    repetitions: int = 5
    seconds: float = 0.1
    min_calls: int = 3

    def limits(self):
        return {"seconds": self.seconds, "min_calls": self.min_calls,
                "max_seconds": 3 * self.seconds}


class Lane:
    """One variant of one worker, and the slots it was measured in."""

    def __init__(self, worker, variant):
        self.worker = worker
        self.variant = variant
        self.slots = []
        self.first_us = 0.0
        self.hopeless = False

    @property
    def name(self):
        return f"{self.variant} {self.worker.setting}".strip()

    @property
    def best_us(self):
        return min(slot["median_us"] for slot in self.slots)

    def sound_slots(self):
        """The slots without a stall."""
        limit = max(self.best_us * STALL_FACTOR, self.best_us + STALL_US)
        return [slot for slot in self.slots if slot["median_us"] <= limit]

    @property
    def median_us(self):
        return statistics.median(slot["median_us"]
                                 for slot in self.sound_slots())

    def is_settled(self, repetitions):
        return len(self.sound_slots()) >= (repetitions + 1) // 2

    def to_json(self):
        found = {"worker": self.worker.name, "variant": self.variant,
                 "first_us": self.first_us, "dropped": self.hopeless,
                 "slots": self.slots}
        if self.slots:
            found |= {"median_us": self.median_us, "stalled_slots":
                      len(self.slots) - len(self.sound_slots())}
        return found


def busy_seconds():
    """CPU time everything on the machine has used, and that was stolen."""
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(field) for field in stat.readline().split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq) / 100, steal / 100


def settle(workers):
    """Wait until no worker computes; return the CPU time each has used."""
    used = {}
    for _ in range(SETTLE_TRIES):
        before, used = used, {worker: worker.cpu_seconds()
                              for worker in workers}
        if before and (sum(used.values()) - sum(before.values())
                       <= IDLE_CPUS * SETTLE_SECONDS):
            return used
        time.sleep(SETTLE_SECONDS)
    raise proof.Refused("idle workers do not come to rest")


def matmuls(team, dtype):
    """What each matmul anyone has reaches, the fastest first."""
    found, best = [], 0.0
    for worker in team.workers:
        for size in PEAK_SIZES:
            settle(team.workers)
            flops = worker.ask("peak", dtype=dtype, size=size)["flops"]
            found += [{"worker": worker.name, "name": name, "size": size,
                       "flops": value} for name, value in flops.items()]
            reached = max(flops.values(), default=0.0)
            best = max(best, reached)
            if reached < HOPELESS_MATMUL * best:
                break
    return sorted(found, key=lambda matmul: -matmul["flops"])


def compare(case, expected, folder, name):
    """Raise Refused unless the answer in `folder` is that in `expected`."""
    worst = {}
    for path in sorted(pathlib.Path(expected).glob("*.f32")):
        want = np.fromfile(path, dtype=np.float32)
        got = np.fromfile(pathlib.Path(folder) / path.name, dtype=np.float32)
        if got.shape != want.shape:
            raise proof.Refused(f"{case.name}: {name} has {got.size} elements "
                                f"in {path.stem}, expected {want.size}")
        error = float(np.abs(got - want).max() / np.abs(want).max())
        if not error <= TOLERANCES[case.dtype]:
            raise proof.Refused(
                f"{case.name} {case.dtype}: {name} differs from the core by "
                f"{error:.1e} of the largest {path.stem}, expected at most "
                f"{TOLERANCES[case.dtype]:.0e}")
        worst[path.stem] = error
    return worst


class Row:
    """Measures one case on one team."""

    def __init__(self, case, team, options):
        self.case = case
        self.team = team
        self.options = options
        self.lanes = []
        self.missing = {}
        self.errors = {}
        self.core_reports = {}
        self.huge_pages = {}

    def measure(self):
        """Measure; return the row as a dictionary."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            inputs.write(self.case, folder)
            for worker in self.team.workers:
                self._prepare(worker, pathlib.Path(folder))
        self._give_up(lambda lane: lane.first_us, HOPELESS_FIRST, LONG_US)
        for repetition in range(2 * self.options.repetitions):
            if (repetition >= self.options.repetitions
                    and all(self._chosen(peer).is_settled(
                        self.options.repetitions) for peer in self._peers())):
                break
            self._repeat(repetition)
        self.huge_pages = {worker.name: worker.huge_page_bytes()
                           for worker in self.team.workers}
        for worker in self.team.workers:
            worker.ask("release")
        return self._result()

    def _prepare(self, worker, folder):
        answers = folder / "answers" / worker.name
        answers.mkdir(parents=True)
        prepared = worker.ask("prepare", case=dataclasses.asdict(self.case),
                              folder=str(folder), check=True,
                              answers=str(answers))
        if worker.peer == CORE:
            self.core_reports = {"implementation": prepared["variants"][0],
                                 "compute_dtype": prepared["compute_dtype"]}
        for variant in prepared["variants"]:
            lane = Lane(worker, variant)
            lane.first_us = prepared.get("first_us", {}).get(variant, 0.0)
            self.lanes.append(lane)
            if worker.peer != CORE:
                self.errors[f"{worker.name} {variant}"] = compare(
                    self.case, folder / "answers" / CORE, answers / variant,
                    f"{worker.name} {variant}")
        for variant, reason in prepared.get("missing", {}).items():
            self.missing[f"{worker.peer} {variant}"] = reason

    def _repeat(self, repetition):
        workers = self.team.workers
        first = repetition % len(workers)
        for worker in workers[first:] + workers[:first]:
            for lane in self.lanes:
                if lane.worker is worker and not lane.hopeless:
                    lane.slots.append(self._slot(lane, repetition))
        self._give_up(lambda lane: lane.best_us,
                      HOPELESS[min(repetition, 1)])

    def _give_up(self, time_of, factor, least=0.0):
        """Measure those lanes no further whose time is beyond `factor` times
        their peer's best, and `least`."""
        racing = [lane for lane in self.lanes if not lane.hopeless]
        for lane in racing:
            best = min(time_of(other) for other in racing
                       if other.worker.peer == lane.worker.peer)
            lane.hopeless = time_of(lane) > max(factor * best, least)

    def _slot(self, lane, repetition):
        for _ in range(SLOT_TRIES):
            slot = self._try_slot(lane)
            proof.check_cpus(lane.worker, slot, self.team.threads)
            if slot["idle_workers_cpus"] <= IDLE_CPUS:
                return slot | {"repetition": repetition}
        raise proof.Refused(f"idle workers used "
                            f"{slot['idle_workers_cpus']:.2f} CPUs while "
                            f"{lane.worker.name} was measured")

    def _try_slot(self, lane):
        before = settle(self.team.workers)
        busy, steal = busy_seconds()
        start = time.perf_counter()
        slot = lane.worker.ask("run", variant=lane.variant,
                               **self.options.limits())
        seconds = time.perf_counter() - start
        used = {worker: worker.cpu_seconds() - before[worker]
                for worker in self.team.workers}
        now_busy, now_steal = busy_seconds()
        idle = sum(used.values()) - used[lane.worker]
        return slot | {
            "idle_workers_cpus": idle / seconds,
            "foreign_cpus": max(0.0, now_busy - busy - sum(used.values()))
            / seconds,
            "stolen_cpus": (now_steal - steal) / seconds}

    def _peers(self):
        return list(dict.fromkeys(lane.worker.peer for lane in self.lanes))

    def _chosen(self, peer):
        """A peer's fastest lane."""
        return min((lane for lane in self.lanes
                    if lane.worker.peer == peer and not lane.hopeless),
                   key=lambda lane: lane.median_us)

    def _result(self):
        chosen = {peer: self._chosen(peer) for peer in self._peers()}
        medians = {peer: lane.median_us for peer, lane in chosen.items()}
        ours = medians[CORE]
        ratios = {peer: median / ours for peer, median in medians.items()
                  if peer != CORE}
        return {
            "name": self.case.name, "dtype": self.case.dtype,
            "threads": self.team.threads,
            "case": dataclasses.asdict(self.case),
            "median_us": medians, "ratio": ratios,
            "ratio_to_best": min(ratios.values()),
            "variant": {peer: lane.name for peer, lane in chosen.items()},
            "operations": self.case.operations,
            "flops": self.case.operations / ours * 1e6,
            "unsettled": [lane.worker.name for lane in chosen.values()
                          if not lane.is_settled(self.options.repetitions)],
            **self.core_reports, "largest_differences": self.errors,
            "missing": self.missing, "huge_page_bytes": self.huge_pages,
            "lanes": [lane.to_json() for lane in self.lanes]}
