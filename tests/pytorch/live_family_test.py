# SPDX-License-Identifier: Apache-2.0
"""Random modules of every family against a live server.

    live_family_test.py --server PATH [--seed N] [--count C]
    live_family_test.py --server PATH --seed N --family F --only K

The families are d2l's and hand-written attention, scaled dot-product attention,
and encoder layers, blocks and stacks. Each case is uploaded with its own
weights, and what comes back over the socket is compared with PyTorch, or with
a transcription where PyTorch has no such module. Stops a family at its first
case that differs, printing how to run it alone; fails too when the cases drawn
cover less than the family requires.
"""

import argparse
import sys
import time
import traceback

import torch

import case_coverage
import family_case
import family_attention
import family_encoders
import family_sdpa
import judge
import remote

FAMILIES = {
    case.family: case
    for case in (
        family_attention.D2lAttentionCase,
        family_attention.D2lDotProductCase,
        family_attention.HandWrittenAttentionCase,
        family_sdpa.ScaledDotProductAttentionCase,
        family_encoders.EncoderLayerCase,
        family_encoders.EncoderBlockCase,
        family_encoders.EncoderStackCase,
    )
}


# Each, of at least 200 cases.
IMPLEMENTATIONS = {
    "by oneDNN": family_case.at_least(200, True),
    "by reference": family_case.at_least(200, True),
}


def run_case(client, case):
    """Run one case; AssertionError when the server differs from PyTorch.

    A float64 query is always computed by the reference implementation, so that
    each case is sent in float64 as well.
    """
    config = remote.to_config(case.config, case.kind)
    client.upload("random", config, case.tensors, **case.header)
    implementation = client.describe("random").implementation
    if implementation != case.implementation:
        raise AssertionError(
            f"served by {implementation}, not {case.implementation}"
        )
    if case.dtype != torch.float64:
        case.check(client.forward("random", **case.inputs), case.inputs)
        case.features["by oneDNN"] = True
    _, wide = judge.widen(case.module, case.inputs)
    case.check(client.forward("random", **wide), wide)
    case.features["by reference"] = True


def run_family(client, name, options):
    """Run the cases of a family and print their coverage; returns whether all
    is well."""
    make_case = FAMILIES[name]
    indices = range(options.count or make_case.count)
    if options.only is not None:
        indices = [options.only]
    required = IMPLEMENTATIONS | make_case.required
    table = case_coverage.Coverage(required, lambda case: case.features)
    started = time.monotonic()
    for index in indices:
        case = make_case(options.seed, index)
        try:
            run_case(client, case)
        except Exception:
            print(f"\nFAILED: {name}, seed {options.seed}, case {index}")
            print(case.describe())
            traceback.print_exc(file=sys.stdout)
            print(
                f"Run it alone with --seed {options.seed} --family {name} "
                f"--only {index}"
            )
            return False
        table.add(case)
    seconds = time.monotonic() - started
    count = table.num_cases
    print(f"{name}: {count} modules equal PyTorch, in {seconds:.0f} s")
    return options.only is not None or has_covered(table, name)


def has_covered(table, name):
    """Print a family's coverage; returns whether it is enough."""
    short = table.print_table()
    if short:
        print(f"FAILED: {name}: too few cases with {', '.join(short)}")
    print()
    return not short


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="attention-server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, help="of cases per family")
    parser.add_argument("--family", choices=FAMILIES, help="run this one alone")
    parser.add_argument("--only", type=int, help="run this case alone")
    options = parser.parse_args()
    if options.only is not None and options.family is None:
        parser.error("--only needs --family")
    judge.configure_torch()
    names = [options.family] if options.family else list(FAMILIES)
    with remote.AttentionServer(options.server) as server:
        with remote.AttentionClient(server.address) as client:
            done = [run_family(client, name, options) for name in names]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
