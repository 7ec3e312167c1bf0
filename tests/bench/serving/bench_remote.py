# SPDX-License-Identifier: Apache-2.0
"""Measure a remote layer against PyTorch's own in the same Python process.

RemoteMultiheadAttention calls the server over a UNIX socket, nn.MultiheadAttention
computes with as many threads, and an echo sends the query's bytes there and back,
which is the least that a call from Python takes. PyTorch waits for work in each
of bench core's ways, in a process each: a row takes the fastest of each figure,
so that a PyTorch slower than it can be does not count. The bar is for rows whose
local time is at least three times the echo's.

Exit status: 0 measured and the bars hold, 1 a bar is missed, 2 wrong arguments.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent / "core"), str(ROOT / "client/python/build_backend")]
import cases  # noqa: E402  (found by the line above)
import stubs  # noqa: E402
import workers  # noqa: E402

import harness  # noqa: E402

BAR = 1.0
ECHOES = 3  # Rows of fewer echoes' time have no bar.


def make_package(folder):
    """The Python client, as it is installed, in a folder for PYTHONPATH."""
    package = folder / "attention_client"
    shutil.copytree(ROOT / "client/python/src/attention_client", package)
    generated = stubs.generate()
    generated.files["version.py"] = '__version__ = "bench"\n'
    stubs.write(generated, package / "_generated")


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench remote", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin_dir", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("cache", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of the server and of PyTorch (default: %(default)s)")
    parser.add_argument("--rows", type=lambda text: [
        tuple(map(int, row.split(","))) for row in text.split()],
        default=cases.SELF, metavar="'N,L,E,H ...'",
        help="default: bench core's of plain self-attention")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2,
                        help="of each turn (default: 0.2)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser.parse_args()


def measure(arguments, environment, targets):
    """What one process measures: rows in the order asked for."""
    counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    command = [sys.executable, HERE / "remote_worker.py", *targets,
               arguments.threads, arguments.seconds, arguments.repetitions,
               *(",".join(map(str, row)) for row in arguments.rows)]
    lines = subprocess.run(
        [str(word) for word in command], check=True, stdout=subprocess.PIPE,
        text=True, env=os.environ | workers.PEER_PAGES["huge"] | environment
        | dict.fromkeys(counts, str(arguments.threads))).stdout
    return [json.loads(line) for line in lines.splitlines()]


def row_of(found):
    """A row of the figures of all processes, in milliseconds."""
    row = {name: 1000 * min(each[name] for each in found)
           for name in ("local", "remote", "echo")}
    row["shape"] = found[0]["shape"]
    row["ratio"] = row["local"] / row["remote"]
    has_bar = row["local"] >= ECHOES * row["echo"]
    row["bar"] = BAR if has_bar else None
    row["holds"] = not has_bar or row["ratio"] >= BAR
    return row


def text_of(row):
    shape = ",".join(map(str, row["shape"]))
    bar = "-" if row["bar"] is None else f"{row['bar']:.2f}"
    return (f"{shape:18}{row['local']:10.3f}{row['remote']:10.3f}"
            f"{row['echo']:10.3f}{row['ratio']:8.2f}{bar:>7}"
            f"{'' if row['holds'] else ' MISSED'}")


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        make_package(folder / "python")
        (folder / "modules").mkdir()
        package = {"PYTHONPATH": str(folder / "python")}
        with (harness.Server(arguments.bin_dir, folder / "modules",
                             folder / "s", "--threads",
                             str(arguments.threads)) as server,
              harness.EchoServer(arguments.bin_dir, folder / "e") as echo):
            processes = [measure(arguments, package | waiting,
                                 (server.target, echo.target))
                         for waiting in workers.TORCH_WAITING.values()]
    rows = [row_of(found) for found in zip(*processes)]
    print(f"{'ms':18}{'PyTorch':>10}{'remote':>10}{'echo':>10}{'ratio':>8}"
          f"{'bar':>7}")
    print("\n".join(map(text_of, rows)))
    ratios = [row["ratio"] for row in rows if row["bar"] is not None]
    if ratios:
        print(f"geometric mean of the rows with a bar: "
              f"{statistics.geometric_mean(ratios):.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
