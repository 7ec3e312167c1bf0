# SPDX-License-Identifier: Apache-2.0
"""The processes that compute: ours and the peers'."""

import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CORE = "core"
PEERS = TORCH, ONNX, OPENVINO = "PyTorch", "ONNX Runtime", "OpenVINO"
# Lines of a failed worker's standard error to show.
LAST_WORDS = 20

# How PyTorch's threads wait for work. Debian's has two teams, libgomp's and
# OpenBLAS's; while one spins the other computes, and on a machine with as many
# cores as threads each change of teams then costs a scheduler's tick or two, 8
# ms. Which setting is best depends on the shape, so a row takes the best.
TORCH_WAITING = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "short": {"GOMP_SPINCOUNT": "1000", "OPENBLAS_THREAD_TIMEOUT": "14"},
}

# Whether OpenVINO's threads stay on a CPU each: which is better depends on what
# else the machine does.
OPENVINO_PINNING = ("default", "free")

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


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a team is of: `peers` as in peers.py, `pages` of PEER_PAGES for
    them, and the core's compute path."""

    peers: object
    pages: str = "huge"
    compute_path: str = "auto"


class Team:
    """All workers of one number of threads; a context manager."""

    def __init__(self, bin_dir, threads, setup):
        self.threads = threads
        self.setup = setup
        self.workers = [start_core(bin_dir, threads, setup.compute_path)]
        # One thread never waits for another.
        settings = TORCH_WAITING if threads > 1 else ["default"]
        for setting in settings:
            self._add(TORCH, setting, "torch_worker.py",
                      self._torch_environment(setting))
        self._add(ONNX, "", "onnx_worker.py")
        if OPENVINO in setup.peers.pythons:
            for setting in OPENVINO_PINNING:
                self._add(OPENVINO, setting, "openvino_worker.py")

    def _torch_environment(self, setting):
        counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        return dict.fromkeys(counts, str(self.threads)) | TORCH_WAITING[setting]

    def _add(self, peer, setting, program, environment=None):
        command = [self.setup.peers.pythons[peer], HERE / program,
                   self.threads, *([setting] if setting else [])]
        worker = Worker(peer, setting, command,
                        PEER_PAGES[self.setup.pages] | (environment or {}))
        self.workers.append(worker)
        worker.hello = worker.ask("hello")

    @property
    def core(self):
        return self.workers[0]

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        for worker in self.workers:
            worker.close()
