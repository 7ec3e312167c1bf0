# SPDX-License-Identifier: Apache-2.0
"""Measure what computing requests together is worth.

Two servers, one that computes requests of one module together and one that
computes each alone (--max-batch-tokens 1, so that requests of one token take
turns with the larger ones), are loaded in turns by the same client on the same
machine, over UNIX sockets: by unary calls, and in the rows that say so the
first one on a ForwardStream. Of single tokens, which the client and gRPC take
longer for than the module, a further row says how near the first one comes to
its calls of a module of next to no compute. A row's figure is the median of its
repetitions' ratios.

Exit status: 0 measured and the bars hold, 1 a bar is missed, 2 wrong arguments.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import harness


class Mix:
    """Requests of some shapes at once, each so many at a time.

    With `stream` the server that computes requests together gets each shape's
    on one ForwardStream; the other gets calls, as without it. With `idle` the
    other is the same server, and the module one of next to no compute.
    """

    def __init__(self, name, module, shapes, concurrency, bar, *, stream=False,
                 idle=False):
        self.name, self.module, self.shapes = name, module, shapes
        self.concurrency, self.bar = concurrency, bar
        self.stream, self.idle = stream, idle

    def throughput(self, bin_dir, servers, name, seconds):
        """Tokens a second: requests of all sizes count as what they are."""
        is_other = name != "together"
        server = servers["together" if self.idle else name]
        module = "idle" if self.idle and is_other else self.module
        options = ["--stream"] if self.stream and (self.idle or not is_other) else []
        with contextlib.ExitStack() as stack:
            loads = [stack.enter_context(
                harness.Load(bin_dir, server, module, shape,
                             "--concurrency", self.concurrency,
                             "--warmup", 0.3, "--duration", seconds, *options))
                     for shape in self.shapes]
            return sum(load.result()["tokens_per_second"] for load in loads)


MIXES = [
    Mix("1 token, 64 at once", "base", [(1, 1, 768)], 64, 1.8),
    Mix("1 token, 64 at once, stream", "base", [(1, 1, 768)], 64, 1.8,
        stream=True),
    Mix("1 token against idle", "base", [(1, 1, 768)], 64, 0.7, idle=True),
    Mix("1 token against idle, stream", "base", [(1, 1, 768)], 64, 0.5,
        stream=True, idle=True),
    Mix("16 tokens, 64 at once", "base", [(1, 16, 768)], 64, 1.15),
    Mix("1 to 128 tokens, 64 at once", "base",
        [(1, 2**power, 768) for power in range(8)], 8, 1.15),
    Mix("1 token, 8 at once", "base", [(1, 1, 768)], 8, 0.97),
    Mix("1 token, 1 at once", "base", [(1, 1, 768)], 1, 0.97),
    Mix("128 tokens, 4 at once", "base", [(1, 128, 768)], 4, 0.97),
    Mix("8 x 128 tokens, 4 at once", "base", [(8, 128, 768)], 4, 0.97),
    Mix("512 tokens, 4 at once", "base", [(1, 512, 768)], 4, 0.97),
]


def measure_mix(mix, arguments, servers):
    """The ratios of a mix, repetition by repetition."""
    ratios, rates = [], []
    for repetition in range(arguments.repetitions):
        order = list(servers) if repetition % 2 == 0 else list(servers)[::-1]
        rate = {name: mix.throughput(arguments.bin_dir, servers, name,
                                     arguments.seconds)
                for name in order}
        rates.append(rate)
        ratios.append(rate["together"] / rate["alone"])
    return {
        "name": mix.name,
        "together": statistics.median(rate["together"] for rate in rates),
        "alone": statistics.median(rate["alone"] for rate in rates),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "bar": mix.bar,
    }


def added_latency(arguments, servers):
    """What a lone request waits longer for batching, in microseconds."""
    differences = []
    for repetition in range(arguments.repetitions):
        order = list(servers) if repetition % 2 == 0 else list(servers)[::-1]
        medians = {
            name: harness.Load(arguments.bin_dir, servers[name], "base",
                               (1, 1, 768), "--concurrency", 1, "--warmup",
                               0.2, "--duration",
                               arguments.seconds).result()["latency_ns"]["p50"]
            for name in order}
        differences.append((medians["together"] - medians["alone"]) / 1000)
    return {"name": "added latency of a lone request, us",
            "value": statistics.median(differences), "bar": 3.0}


def beside_a_large_one(arguments, server):
    """How long small requests take beside an endless (1, 8192, 1024, 16)."""
    budget = harness.Load(arguments.bin_dir, server, "large", (1, 1024, 1024),
                          "--concurrency", 1, "--warmup", 0.2, "--duration",
                          3 * arguments.seconds).result()["latency_ns"]["p50"]
    with harness.Load(arguments.bin_dir, server, "large", (1, 8192, 1024),
                      "--concurrency", 1, "--warmup", 0, "--duration",
                      3600) as large:
        time.sleep(2)
        small = harness.Load(arguments.bin_dir, server, "large", (1, 1, 1024),
                             "--concurrency", 1, "--warmup", 1, "--duration",
                             max(10, 5 * arguments.seconds)).result()
        done = large.stop()["latency_ns"]["count"]
    return {"name": "p99 of 1 token beside (1,8192,1024,16), in budgets",
            "value": small["latency_ns"]["p99"] / budget, "bar": 3.0,
            "budget_us": budget / 1000,
            "p50_us": small["latency_ns"]["p50"] / 1000,
            "p99_us": small["latency_ns"]["p99"] / 1000,
            "large_answered": done}


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench batching", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin_dir", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("cache", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of the servers (default: %(default)s)")
    parser.add_argument("--max-batch-tokens", type=int, default=1024)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5,
                        help="of each load (default: 1.5)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    results = []
    with tempfile.TemporaryDirectory() as directory:
        modules = pathlib.Path(directory) / "modules"
        modules.mkdir()
        harness.write_multi_head_attention(modules, "base", 768, 12)
        harness.write_multi_head_attention(modules, "large", 1024, 16)
        harness.write_attention_alone(modules, "idle", 768)

        def server(name, tokens):
            return harness.Server(arguments.bin_dir, modules,
                                  f"{directory}/{name}", "--threads",
                                  str(arguments.threads), "--max-batch-tokens",
                                  str(tokens))

        with (server("together", arguments.max_batch_tokens) as together,
              server("alone", 1) as alone):
            servers = {"together": together, "alone": alone}
            print(f"{'tokens/s':30}{'together':>10}{'alone':>10}"
                  f"{'ratio':>7}{'least':>7}{'most':>7}{'bar':>7}")
            for mix in MIXES:
                row = measure_mix(mix, arguments, servers)
                row["holds"] = row["ratio"] >= row["bar"]
                results.append(row)
                print(f"{row['name']:30}{row['together']:10.0f}"
                      f"{row['alone']:10.0f}{row['ratio']:7.2f}"
                      f"{row['least']:7.2f}{row['most']:7.2f}"
                      f"{row['bar']:7.2f}{'' if row['holds'] else ' MISSED'}",
                      flush=True)
            for row in (added_latency(arguments, servers),
                        beside_a_large_one(arguments, together)):
                row["holds"] = row["value"] <= row["bar"]
                results.append(row)
                print(f"{row['name']}: {row['value']:.2f}, at most "
                      f"{row['bar']:.2f}{'' if row['holds'] else ' MISSED'}",
                      flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if all(row["holds"] for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
