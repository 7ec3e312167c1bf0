# SPDX-License-Identifier: Apache-2.0
"""The results as text."""

import statistics

from workers import CORE, ONNX, OPENVINO, PEERS, TORCH

# With more threads a row may be this much slower than with one; beyond it,
# threads waited for a CPU (see workers.TORCH_WAITING).
STALL_US = 4000

SHORT = {TORCH: "PyTorch", ONNX: "ORT", OPENVINO: "OpenVINO"}
HEADER = (f"{'row':33}{'dtype':>9}{'thr':>4}{'core us':>12}"
          + "".join(f"{SHORT[peer] + ' us':>12}" for peer in PEERS)
          + "".join(f"{'/' + SHORT[peer]:>10}" for peer in PEERS)
          + f"{'/best':>7}{'GFLOP/s':>9}{'peak':>6}  variants")


def _number(value, width, decimals):
    if value is None:
        return f"{'n/a':>{width}}"
    return f"{value:{width}.{decimals}f}"


def row_text(row):
    """One line of the table."""
    medians, ratios = row["median_us"], row["ratio"]
    variants = "; ".join(row["variant"][peer] for peer in PEERS
                         if peer in medians)
    mark = " STALLED" if row["unsettled"] else ""
    return (f"{row['name']:33}{row['dtype']:>9}{row['threads']:>4}"
            f"{_number(medians[CORE], 12, 1)}"
            + "".join(_number(medians.get(peer), 12, 1) for peer in PEERS)
            + "".join(_number(ratios.get(peer), 10, 2) for peer in PEERS) +
            f"{_number(row['ratio_to_best'], 7, 2)}"
            f"{_number(row['flops'] / 1e9, 9, 1)}"
            f"{_number(100 * row['share_of_peak'], 5, 0)}%  {variants}{mark}")


def peak_lines(dtype, matmuls):
    """What each matmul reaches, and which is the peak; the fastest first."""
    lines = [f"{matmul['flops'] / 1e9:7.1f} GFLOP/s  {matmul['worker']}: "
             f"{matmul['name']}, {' x '.join(map(str, matmul['size']))}"
             for matmul in matmuls]
    return [f"matmuls, {dtype}; the first is the peak:", *lines]


def _means(rows):
    """Geometric means against each peer, of the rows that it has."""
    ratios = {peer: [row["ratio"][peer] for row in rows
                     if peer in row["ratio"]] for peer in PEERS}
    return {peer: statistics.geometric_mean(found)
            for peer, found in ratios.items() if found}


def summarize(rows):
    """The claims' figures, for each dtype."""
    summary = {}
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        ours = [row for row in rows if row["dtype"] == dtype]
        best = [row["ratio_to_best"] for row in ours]
        slowest = min(ours, key=lambda row: row["ratio_to_best"])
        summary[dtype] = {
            "rows": len(ours),
            "share_at_least_1": sum(ratio >= 1 for ratio in best) / len(best),
            "minimum": min(best),
            "minimum_row": f"{slowest['name']}, {slowest['threads']} threads",
            "geometric_mean_to_best": statistics.geometric_mean(best),
            "geometric_mean_to": _means(ours)}
    pairs = gains(rows)
    if pairs:
        summary["float32_time_per_bfloat16_time"] = pairs
    return summary


def gains(rows):
    """Our own float32 time per bfloat16 time, for each row that has both."""
    times = {(row["name"], row["threads"], row["dtype"]):
             row["median_us"][CORE] for row in rows}
    return {f"{name}, {threads} threads":
            time / times[name, threads, "bfloat16"]
            for (name, threads, dtype), time in times.items()
            if dtype == "float32" and (name, threads, "bfloat16") in times}


def stalls(rows):
    """Say which figures are of threads that waited for a CPU."""
    alone = {(row["name"], row["dtype"], peer): median for row in rows
             if row["threads"] == 1 for peer, median in
             row["median_us"].items()}
    found = []
    for row in rows:
        what = f"{row['name']} {row['dtype']}, {row['threads']} threads"
        found += [f"{what}: most slots of {name} stalled"
                  for name in row["unsettled"]]
        for peer, median in row["median_us"].items():
            one = alone.get((row["name"], row["dtype"], peer), median)
            if median > one + STALL_US:
                found.append(f"{what}: {peer} took {median:.0f} us, with one "
                             f"thread {one:.0f}")
    return found


def quiet(rows):
    """How many CPUs everything else used, on average and at worst."""
    slots = [slot for row in rows for lane in row["lanes"]
             for slot in lane["slots"]]
    return {key: {"mean": statistics.mean(slot[key] for slot in slots),
                  "largest": max(slot[key] for slot in slots)}
            for key in ("foreign_cpus", "stolen_cpus", "idle_workers_cpus")}


def summary_text(summary, disturbance):
    """The summary as lines."""
    lines = []
    for dtype in ("float32", "bfloat16"):
        if dtype not in summary:
            continue
        found = summary[dtype]
        means = ", ".join(f"{mean:.2f}x {peer}" for peer, mean in
                          found["geometric_mean_to"].items())
        lines.append(
            f"{dtype}: {found['rows']} rows, {found['share_at_least_1']:.0%} "
            f"at least as fast as the best peer, slowest "
            f"{found['minimum']:.2f}x ({found['minimum_row']}); geometric "
            f"means {found['geometric_mean_to_best']:.2f}x the best peer, "
            f"{means}")
    pairs = summary.get("float32_time_per_bfloat16_time")
    if pairs:
        lines.append(
            f"bfloat16 against our own float32: "
            f"{statistics.geometric_mean(pairs.values()):.2f}x on average, "
            f"{min(pairs.values()):.2f} to {max(pairs.values()):.2f}")
    foreign = disturbance["foreign_cpus"]
    lines.append(
        f"CPUs used by anything else: {foreign['mean']:.2f} on average, "
        f"{foreign['largest']:.2f} at worst; stolen "
        f"{disturbance['stolen_cpus']['mean']:.2f}")
    if foreign["mean"] > 0.1:
        lines.append("THE MACHINE WAS NOT QUIET: the figures mean little")
    return lines
