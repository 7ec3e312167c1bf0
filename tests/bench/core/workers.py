# SPDX-License-Identifier: Apache-2.0
"""The processes that compute: ours, PyTorch's and ONNX Runtime's."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CORE, TORCH, ONNX = "core", "PyTorch", "ONNX Runtime"
# Lines of a failed worker's standard error to show.
LAST_WORDS = 20

# How PyTorch's threads wait for work. It has two teams, libgomp's and
# OpenBLAS's; while one spins the other computes, and on a machine with as many
# cores as threads each change of teams then costs a scheduler's tick or two, 8
# ms. Which setting is best depends on the shape, so a row takes the best.
TORCH_WAITING = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "short": {"GOMP_SPINCOUNT": "1000", "OPENBLAS_THREAD_TIMEOUT": "14"},
}

# The core asks for huge pages itself. Its peers do so only if told; both are
# faster with them.
PEER_PAGES = {
    "huge": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
             "THP_MEM_ALLOC_ENABLE": "1"},
    "system": {},
}


class WorkerError(Exception):
    """A worker failed or ended."""


class Worker:
    """A process that answers JSON requests, one line each."""

    def __init__(self, peer, setting, command, environment=None):
        self.peer = peer
        self.setting = setting
        self.hello = {}
        # Shown only when the worker fails: Debian's ONNX Runtime says there,
        # for each of a thousand operators, that its schema was known before.
        self._errors = tempfile.TemporaryFile(mode="w+")
        self._process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env=os.environ | (environment or {}))

    @property
    def name(self):
        return f"{self.peer} {self.setting}".strip()

    def ask(self, op, **fields):
        """Send a request, wait for its answer."""
        try:
            self._process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"{self.name}: ended during {op}, status "
                              f"{self._process.wait()}\n{self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {op}: {answer['error']}\n"
                              f"{self._last_words()}")
        return answer

    def _last_words(self):
        self._errors.seek(0)
        lines = [line for line in self._errors
                 if line.strip() and not line.startswith("Schema error")]
        return "".join(lines[-LAST_WORDS:])

    def cpu_seconds(self):
        """CPU time its living threads have used."""
        total = 0
        tasks = pathlib.Path(f"/proc/{self._process.pid}/task")
        for task in tasks.iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:  # the thread has ended
                continue
        return total * 1e-9

    def huge_page_bytes(self):
        """Its memory that lies in huge pages."""
        rollup = pathlib.Path(f"/proc/{self._process.pid}/smaps_rollup")
        for line in rollup.read_text(encoding="ascii").splitlines():
            if line.startswith("AnonHugePages:"):
                return int(line.split()[1]) * 1024
        return 0

    def close(self):
        """End the process and wait for it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def start_core(bin_dir, threads, compute_path="auto"):
    worker = Worker(CORE, "", [bin_dir / "core_bench_worker", threads,
                               compute_path])
    worker.hello = worker.ask("hello")
    return worker


def _torch(threads, setting, pages):
    environment = {"OMP_NUM_THREADS": str(threads),
                   "OPENBLAS_NUM_THREADS": str(threads)}
    return Worker(TORCH, setting,
                  [sys.executable, HERE / "torch_worker.py", threads],
                  environment | TORCH_WAITING[setting] | PEER_PAGES[pages])


class Team:
    """All workers of one number of threads; a context manager.

    `pages` of PEER_PAGES are those of the peers, `compute_path` is the core's.
    """

    def __init__(self, bin_dir, threads, pages, compute_path="auto"):
        self.threads = threads
        self.pages = pages
        # One thread never waits for another.
        settings = TORCH_WAITING if threads > 1 else ["default"]
        self.workers = [start_core(bin_dir, threads, compute_path)]
        self.workers += [_torch(threads, setting, pages)
                         for setting in settings]
        self.workers.append(
            Worker(ONNX, "", [sys.executable, HERE / "onnx_worker.py",
                              threads], PEER_PAGES[pages]))
        for worker in self.workers[1:]:
            worker.hello = worker.ask("hello")

    @property
    def core(self):
        return self.workers[0]

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        for worker in self.workers:
            worker.close()
