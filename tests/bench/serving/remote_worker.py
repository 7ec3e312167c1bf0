# SPDX-License-Identifier: Apache-2.0
"""One Python process with both layers: remote_worker.py SERVER ECHO THREADS SECONDS
REPETITIONS N,L,E,H.... A line of JSON for each row, of medians in seconds.

Local, remote and echo take turns of SECONDS, in which their threads fall asleep:
those of one waiting for work would take the processor from the next.
"""

import json
import statistics
import sys
import time

import grpc
import torch

from attention_client.torch import RemoteMultiheadAttention


def turn(call, seconds):
    """Times of the calls in some seconds, but the first two, after a pause."""
    time.sleep(0.02)
    call()
    call()
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def measure(shape, targets, seconds, repetitions):
    """A row; refused where the answers differ."""
    batch_size, length, width, heads = shape
    torch.manual_seed(1)
    local = torch.nn.MultiheadAttention(width, heads, batch_first=True).eval()
    remote = RemoteMultiheadAttention(local, targets[0])
    query = torch.rand(batch_size, length, width)
    with grpc.insecure_channel(
            targets[1], options=[("grpc.max_receive_message_length", -1)]) as channel:
        echo = channel.unary_unary("/echo/Raw")
        sent = query.numpy().tobytes()
        calls = {
            "local": lambda: local(query, query, query, need_weights=False),
            "remote": lambda: remote(query, query, query, need_weights=False),
            "echo": lambda: echo(sent),
        }
        here, there = calls["local"]()[0], calls["remote"]()[0]
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5)
        times = {name: [] for name in calls}
        for repetition in range(repetitions):
            names = list(calls)
            first = repetition % len(names)
            for name in names[first:] + names[:first]:
                times[name] += turn(calls[name], seconds)
    return {name: statistics.median(found) for name, found in times.items()}


def main():
    server, echo, threads, seconds, repetitions, *shapes = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.set_grad_enabled(False)
    for text in shapes:
        shape = [int(number) for number in text.split(",")]
        row = measure(shape, (server, echo), float(seconds), int(repetitions))
        print(json.dumps({"shape": shape, **row}), flush=True)


if __name__ == "__main__":
    main()
