# SPDX-License-Identifier: Apache-2.0
"""Random torch.nn.MultiheadAttention modules against a live server.

    live_differential_test.py --server PATH [--seed N] [--count C]
    live_differential_test.py --server PATH --seed N --only K

Each case is uploaded with its own weights, and output and weights that come
back over the socket are compared with PyTorch's. Stops at the first case that
differs, printing how to run it alone; fails too when the cases drawn cover
less than case_coverage.REQUIRED.
"""

import argparse
import sys
import time
import traceback

import case_coverage
import implementations
import judge
import random_case
import remote


def run_case(client, seed, index):
    """Run one case; AssertionError when the server differs from PyTorch."""
    case = random_case.RandomCase(seed, index)
    name = f"random-{seed}-{index}"
    try:
        client.upload(name, case.config, case.module.state_dict())
        implementation = client.describe(name).implementation
        is_double = case_coverage.features_of(case)["dtype"] == "float64"
        expected = (
            implementations.REFERENCE if is_double else implementations.ONEDNN
        )
        if implementation != expected:
            raise AssertionError(f"served by {implementation}, not {expected}")
        answer = client.forward(name, **case.inputs)
        judge.check(answer, case.module, case.inputs)
        client.unload(name)
    except Exception:
        print(f"\nFAILED: seed {seed}, case {index}\n{case.describe()}")
        raise
    return case


def run_all(client, options):
    """Run the cases and print their coverage; returns the exit code."""
    indices = range(options.count)
    if options.only is not None:
        indices = [options.only]
    table = case_coverage.Coverage()
    started = time.monotonic()
    for index in indices:
        try:
            table.add(run_case(client, options.seed, index))
        except Exception:
            traceback.print_exc(file=sys.stdout)
            print(f"Run it alone with --seed {options.seed} --only {index}")
            return 1
    seconds = time.monotonic() - started
    if options.only is not None:
        print(f"Case {options.only} of seed {options.seed} equals PyTorch.")
        return 0
    short = table.print_table()
    print(f"{table.num_cases} modules equal PyTorch, in {seconds:.0f} s.")
    if short:
        print(f"FAILED: too few cases with {', '.join(short)}")
        return 1
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="attention-server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--only", type=int, help="run this case alone")
    options = parser.parse_args()
    judge.configure_torch()
    with remote.AttentionServer(options.server) as server:
        with remote.AttentionClient(server.address) as client:
            return run_all(client, options)


if __name__ == "__main__":
    sys.exit(main())
