# SPDX-License-Identifier: Apache-2.0
"""Measure what the wire costs: Forward against echoes of the same bytes.

The C++ client calls, in turns, Forward on a module of next to no compute, an
echo that sends back what came (raw), and an echo that copies it once into
aligned memory that is used again, as the client then does with the answer
(gather). Of Forward what it computed is taken off. The least that a server can
cost is raw below, and gather from 1 MiB on, as gRPC delivers messages in pieces.

Exit status: 0 measured and the bars hold, 1 a bar is missed, 2 wrong arguments.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import harness

WIDTH = 1024  # of wire_bench's rows
KIB, MIB = 1 << 10, 1 << 20
SIZES = [4 * KIB, 64 * KIB, MIB, 8 * MIB, 64 * MIB]


def bar(num_bytes):
    """The echo a size is measured against, and how many times it may take."""
    return ("raw", 1.15) if num_bytes < MIB else ("gather", 1.10)


def measure(arguments, server, echo):
    """One run: what wire_bench says of each size."""
    command = [arguments.bin_dir / "wire_bench", server, echo, "alone",
               arguments.calls, *SIZES]
    lines = subprocess.run([str(word) for word in command], check=True,
                           stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench wire", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin_dir", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("cache", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of the server (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=2000,
                        help="of each kind up to 64 KiB, fewer of more "
                        "(default: 2000)")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser.parse_args()


def rows_of(transport, runs):
    """The figures of each size over all runs."""
    rows = []
    for num_bytes in SIZES:
        found = [row for run in runs for row in run
                 if row["bytes"] == num_bytes]
        against, most = bar(num_bytes)
        ratios = [row["forward"] / row[against] for row in found]
        row = {key: statistics.median(each[key] for each in found) / 1000
               for key in ("forward", "compute", "raw", "gather")}
        row.update(transport=transport, bytes=num_bytes, against=against,
                   ratio=statistics.median(ratios), least=min(ratios),
                   most=max(ratios), bar=most)
        row["holds"] = row["ratio"] <= most
        rows.append(row)
    return rows


def main():
    arguments = parse_arguments()
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        modules = pathlib.Path(directory) / "modules"
        modules.mkdir()
        harness.write_attention_alone(modules, "alone", WIDTH)
        with (harness.Server(arguments.bin_dir, modules, f"{directory}/s",
                             "--threads", str(arguments.threads)) as server,
              harness.EchoServer(arguments.bin_dir, f"{directory}/e") as echo):
            print(f"{'microseconds':14}{'bytes':>10}{'Forward':>11}"
                  f"{'raw echo':>11}{'gather':>11}{'compute':>11}"
                  f"  {'ratio':15}{'least':>7}{'most':>7}{'bar':>7}")
            for transport, targets in (
                    ("unix socket", (server.target, echo.target)),
                    ("TCP", (server.address, echo.address))):
                runs = [measure(arguments, *targets)
                        for _ in range(arguments.repetitions)]
                for row in rows_of(transport, runs):
                    rows.append(row)
                    print(f"{transport:14}{row['bytes']:10}"
                          f"{row['forward']:11.1f}{row['raw']:11.1f}"
                          f"{row['gather']:11.1f}{row['compute']:11.1f}"
                          f"  {row['ratio']:.2f} of {row['against']:8}"
                          f"{row['least']:7.2f}{row['most']:7.2f}"
                          f"{row['bar']:7.2f}"
                          f"{'' if row['holds'] else ' MISSED'}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
