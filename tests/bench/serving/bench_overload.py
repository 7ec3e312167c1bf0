# SPDX-License-Identifier: Apache-2.0
"""Measure what is left of a server that is asked for more than it can do.

A client sends requests at random times whatever the server does (open loop),
each with a deadline, at multiples of the rate that the server sustains, over a
UNIX socket on the same machine. Goodput is what is answered in time.

Exit status: 0 measured and the bars hold, 1 a bar is missed, 2 wrong arguments.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

import harness

# An encoder layer, whose requests take long for their bytes: sending those that
# are refused takes the machine's time, too.
WIDTH, HEADS, SHAPE = 1024, 16, (1, 64, 1024)
RATES = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
QUEUE_TIME_MS = 150  # of the server; a deadline alone would never reach it
REFUSED = "RESOURCE_EXHAUSTED"


def load(arguments, server, rate, seconds, *, deadline=None, warmup=1.0):
    """One open loop; its report, with failures."""
    return harness.Load(
        arguments.bin_dir, server, "base", SHAPE, "--rate", f"{rate:.3f}",
        "--warmup", warmup, "--duration", seconds, "--rate-seed", 1,
        timeout=deadline).result(may_fail=True)


def sustained(arguments, server):
    """Requests a second with eight always in flight: the rate called 1."""
    return harness.Load(arguments.bin_dir, server, "base", SHAPE,
                        "--concurrency", 8, "--warmup", 2, "--duration",
                        arguments.seconds).result()["requests_per_second"]


def point(arguments, server, capacity, factor, seconds):
    """What becomes of the requests at a multiple of the sustained rate."""
    report = load(arguments, server, factor * capacity, seconds,
                  deadline=arguments.deadline)
    refused = report["failed_ns"].get(REFUSED, {"count": 0, "p99": 0})
    return {
        "rate": factor,
        "asked_per_second": factor * capacity,
        "goodput": report["codes"].get("OK", 0) / seconds,
        "codes": report["codes"],
        "latency_p50_ms": report["latency_ns"]["p50"] / 1e6,
        "latency_p99_ms": report["latency_ns"]["p99"] / 1e6,
        "refused": refused["count"],
        "refused_p99_ms": refused["p99"] / 1e6,
        "rss_mib": server.resident_bytes() / 2**20,
    }


def draw(points):
    """A line for each point, with a bar as long as its goodput."""
    most = max(one["goodput"] for one in points)
    print(f"{'rate':>5}{'asked/s':>9}{'goodput':>9}{'p50 ms':>8}{'p99 ms':>8}"
          f"{'refused in ms (p99)':>21}{'RSS MiB':>9}")
    for one in points:
        bar = "#" * round(30 * one["goodput"] / most)
        print(f"{one['rate']:5.1f}{one['asked_per_second']:9.1f}"
              f"{one['goodput']:9.1f}{one['latency_p50_ms']:8.1f}"
              f"{one['latency_p99_ms']:8.1f}{one['refused_p99_ms']:21.2f}"
              f"{one['rss_mib']:9.0f}  {bar}", flush=True)


def plot(points, path):
    """The curve, in SVG."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(6, 3.2))
    asked = [one["asked_per_second"] for one in points]
    axes.plot(asked, [one["goodput"] for one in points], marker="o",
              label="answered in time")
    axes.plot(asked, asked, linestyle=":", color="#7d8590", label="asked")
    axes.set_ylim(0, 1.3 * max(one["goodput"] for one in points))
    axes.set_xlabel("requests a second asked")
    axes.set_ylabel("a second")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})


def after_the_storm(arguments, server, capacity):
    """Half the sustained rate, from a second after the storm on."""
    time.sleep(1)
    report = load(arguments, server, 0.5 * capacity, arguments.seconds,
                  deadline=arguments.deadline, warmup=0)
    answered = report["codes"].get("OK", 0)
    return answered / max(1, sum(report["codes"].values()))


def without_deadlines(arguments, server, capacity):
    """p99 of what is accepted when only --max-queue-time bounds the wait."""
    report = load(arguments, server, 3 * capacity, arguments.seconds,
                  deadline=60)
    alone = harness.Load(arguments.bin_dir, server, "base", SHAPE,
                         "--concurrency", 1, "--warmup", 0.5, "--duration",
                         arguments.seconds).result()["service_ns"]["p99"]
    return (report["service_ns"]["p99"] - alone) / 1e6


def bars(points, storm, share_after, queue_ms):
    """Every bar of this benchmark: what, got, expected."""
    best = max(one["goodput"] for one in points)
    last = points[-1]
    grown = last["rss_mib"] - points[-2]["rss_mib"]
    return [
        {"name": f"goodput at {last['rate']:.0f} x, of the best",
         "value": last["goodput"] / best, "least": 0.9},
        {"name": "refusals", "value": last["refused"], "least": 1},
        {"name": "refusals, p99, ms", "value": last["refused_p99_ms"],
         "most": 5},
        {"name": "wait of what is accepted without a deadline, p99, ms",
         "value": queue_ms, "most": QUEUE_TIME_MS},
        {"name": f"memory grown in {storm:.0f} s of it, MiB", "value": grown,
         "most": 32},
        {"name": "answered at 0.5 x from 1 s after it on", "value": share_after,
         "least": 1},
    ]


def holds(bar):
    """Whether a bar's value is within what it says."""
    return (bar["value"] >= bar.get("least", bar["value"])
            and bar["value"] <= bar.get("most", bar["value"]))


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench overload", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin_dir", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("cache", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int,
                        default=len(os.sched_getaffinity(0)),
                        help="of the server (default: %(default)s)")
    parser.add_argument("--deadline", type=float, default=0.2,
                        metavar="SECONDS", help="of each request (default: 0.2)")
    parser.add_argument("--seconds", type=float, default=8,
                        help="of each load (default: 8)")
    parser.add_argument("--storm", type=float, default=60, metavar="SECONDS",
                        help="of the last rate's load (default: 60)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--svg", type=pathlib.Path, metavar="FILE")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as directory:
        modules = pathlib.Path(directory) / "modules"
        modules.mkdir()
        harness.write_encoder_layer(modules, "base", WIDTH, HEADS)
        with harness.Server(arguments.bin_dir, modules, f"{directory}/socket",
                            "--threads", str(arguments.threads),
                            "--max-queue-time", str(QUEUE_TIME_MS)) as server:
            capacity = sustained(arguments, server)
            points = [point(arguments, server, capacity, factor,
                            arguments.storm if factor == RATES[-1]
                            else arguments.seconds) for factor in RATES]
            share_after = after_the_storm(arguments, server, capacity)
            queue_ms = without_deadlines(arguments, server, capacity)
    draw(points)
    results = bars(points, arguments.storm, share_after, queue_ms)
    for bar in results:
        bar["holds"] = holds(bar)
        bound = ("at least " + format(bar["least"], "g") if "least" in bar
                 else "at most " + format(bar["most"], "g"))
        print(f"{bar['name']}: {bar['value']:.2f}, {bound}"
              f"{'' if bar['holds'] else ' MISSED'}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"points": points, "bars": results}, indent=2) + "\n")
    if arguments.svg:
        plot(points, arguments.svg)
    return 0 if all(bar["holds"] for bar in results) else 1


if __name__ == "__main__":
    sys.exit(main())
