# SPDX-License-Identifier: Apache-2.0
"""Measure the core against PyTorch, ONNX Runtime and OpenVINO, in turns.

All are measured in one run. Each computes in a process of its own, from the
same tensors, with as many threads. Before a row is timed, all answers are
compared. Then every worker in turn is warm and measured for a while, in as
many repetitions as asked for; a peer's figure is the median of its fastest
way. Nothing is measured unless the peers are at their best, and the proof is
printed.

Exit status: 0 measured, 2 wrong arguments, 3 refused, with the reason.
"""

import argparse
import json
import pathlib
import re
import sys

import cases
import chart
import measure
import peers
import proof
import report
import self_measurements
import workers


def _list_of(kind, allowed=None):
    def parse(text):
        values = [kind(part) for part in text.split(",")]
        if allowed and not set(values) <= set(allowed):
            raise argparse.ArgumentTypeError(
                f"{text}: expected some of {','.join(allowed)}")
        return values
    return parse


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench core", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin_dir", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("cache", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--peers", choices=list(peers.KINDS),
                        default="debian", help="debian: PyTorch and ONNX "
                        "Runtime of Debian's packages, and PyPI's OpenVINO "
                        "where PyPI answers; today: PyPI's newest of all "
                        "three, in a virtual environment in the cache folder, "
                        "which needs the network (default: debian)")
    parser.add_argument("--threads", type=_list_of(int), default=[1, 2],
                        metavar="N,...", help="default: 1,2")
    parser.add_argument("--dtypes", type=_list_of(str, cases.DTYPES),
                        default=list(cases.DTYPES), metavar="NAME,...",
                        help="default: float32,bfloat16")
    parser.add_argument("--filter", type=re.compile, default=re.compile(""),
                        metavar="REGEX", help="only rows in whose "
                        "'KIND N,L,E,H DTYPE THREADS' this is found")
    parser.add_argument("--part", choices=("all", "rows", "alone"),
                        default="all", help="rows: the core and its peers; "
                        "alone: what masks, weights, long sequences and odd "
                        "inputs cost the core (default: all)")
    parser.add_argument("--compute-path", default="auto",
                        choices=("auto", "fused", "primitives"),
                        help="what the core computes the rows with, as the "
                        "server's option (default: auto)")
    parser.add_argument("--peer-pages", choices=sorted(workers.PEER_PAGES),
                        default="huge", help="memory of the peers: huge pages,"
                        " as the core asks for, or as the system gives it "
                        "(default: huge)")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1,
                        help="of each slot (default: 0.1)")
    parser.add_argument("--quick", action="store_true",
                        help="2 repetitions of 0.05 s, no row beyond L = 2048")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--svg", type=pathlib.Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.repetitions, arguments.seconds = 2, 0.05
    if arguments.repetitions < 1 or min(arguments.threads) < 1:
        parser.error("--repetitions and --threads must be at least 1")
    return arguments


def measure_peaks(team, dtypes):
    """The matmuls of each dtype, the fastest first: that is the peak."""
    peaks = {dtype: measure.matmuls(team, dtype) for dtype in dtypes}
    for dtype, matmuls in peaks.items():
        print("\n".join(report.peak_lines(dtype, matmuls)), flush=True)
    return peaks


def wanted_rows(arguments, threads):
    """The rows asked for of one number of threads."""
    wanted = [case for dtype in arguments.dtypes for case in cases.rows(dtype)
              if arguments.filter.search(f"{case.name} {dtype} {threads}")]
    if arguments.quick:
        wanted = [case for case in wanted if case.query_length <= 2048]
    return wanted


def measure_rows(team, arguments, options, results):
    """Measure the rows of one number of threads."""
    for worker in team.workers:
        proof.check(worker, team.threads)
        results["proof"].append(proof.describe(worker))
        print(results["proof"][-1])
    print(f"pages of the peers: {team.setup.pages}")
    peaks = measure_peaks(team, arguments.dtypes)
    results["matmuls"][team.threads] = peaks
    print(report.HEADER)
    for case in wanted_rows(arguments, team.threads):
        row = measure.Row(case, team, options).measure()
        row["share_of_peak"] = row["flops"] / peaks[case.dtype][0]["flops"]
        results["rows"].append(row)
        print(report.row_text(row), flush=True)
    held = {worker.name: max(row["huge_page_bytes"].get(worker.name, 0)
                             for row in results["rows"])
            for worker in team.workers}
    print("most memory in huge pages: " + ", ".join(
        f"{name} {size / 2**20:.0f} MiB" for name, size in held.items()))


def measure_all(arguments):
    """Measure everything that was asked for."""
    options = measure.Options(arguments.repetitions, arguments.seconds)
    results = {"machine": proof.machine(), "proof": [], "matmuls": {},
               "repetitions": options.repetitions,
               "seconds_per_slot": options.seconds,
               "peers": arguments.peers,
               "peer_pages": arguments.peer_pages, "rows": [], "alone": []}
    print(", ".join(f"{name} {value}" for name, value in
                    results["machine"].items() if value))
    counts = [threads for threads in arguments.threads
              if wanted_rows(arguments, threads)]
    if arguments.part == "rows" and not counts:
        raise proof.Refused(f"no row has {arguments.filter.pattern!r}")
    if arguments.part != "alone" and counts:
        found = peers.KINDS[arguments.peers](arguments.cache)
        results["proof"] += found.proof()
        print("\n".join(results["proof"]))
        setup = workers.Setup(found, arguments.peer_pages,
                              arguments.compute_path)
        for threads in counts:
            with workers.Team(arguments.bin_dir, threads, setup) as team:
                measure_rows(team, arguments, options, results)
    if arguments.part != "rows":
        results["alone"] = self_measurements.measure(arguments, options)
    return results


def finish(results, arguments):
    """Print the summary, write the files; return the exit status."""
    if results["rows"]:
        results["summary"] = report.summarize(results["rows"])
        results["disturbance"] = report.quiet(results["rows"])
        print("\n".join(report.summary_text(results["summary"],
                                            results["disturbance"])))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n",
                                  encoding="utf-8")
    if arguments.svg and results["rows"]:
        chart.draw(results, arguments.svg)
    stalls = report.stalls(results["rows"])
    for stall in stalls:
        print(f"refused: {stall}", file=sys.stderr)
    return 3 if stalls else 0


def main():
    arguments = parse_arguments()
    try:
        return finish(measure_all(arguments), arguments)
    except (proof.Refused, workers.WorkerError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
