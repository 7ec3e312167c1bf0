# SPDX-License-Identifier: Apache-2.0
"""Serve mixed traffic for a long time while things go wrong around it.

Honest clients send requests of several kinds over TCP and a UNIX socket and
compare every sampled answer, bit for bit, with one received at the start. All
the while other clients are killed in the middle of requests, connections are
opened and left half-open, answers are asked for and not read, messages are
never finished, and modules are replaced and unloaded under load. Most of them
are clients in bursts that die in the middle of an upload, a request, an answer
or a stream: 100,000 in the ten minutes it takes by default.

Exit status: 0 every honest request was answered with the right bits and memory
is flat, 1 something was lost, wrong or grew, 2 wrong arguments.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import harness

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FORWARD = b"/attention.v1.AttentionService/Forward"
STREAM = b"/attention.v1.AttentionService/ForwardStream"
UPLOAD = b"/attention.v1.ModuleService/UploadModule"
BURST = 600  # clients
HONEST = [("base", (1, 1, 64), 4), ("base", (2, 40, 64), 2),
          ("base", (1, 600, 64), 1), ("alone", (4, 300, 32), 1)]


def frame(kind, flags, stream, payload):
    """An HTTP/2 frame."""
    return (struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
            + struct.pack(">I", stream) + payload)


def literal(name, value):
    """A header field without indexing, as HPACK writes it."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call_headers(path):
    """The HEADERS frame that begins a call, as stream 1."""
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path),
              (b":authority", b"localhost"), (b"te", b"trailers"),
              (b"content-type", b"application/grpc")]
    block = b"".join(literal(name, value) for name, value in fields)
    return frame(1, 4, 1, block)


def message(body):
    """A message's DATA frames, the call left open."""
    data = b"\0" + struct.pack(">I", len(body)) + body
    return b"".join(frame(0, 0, 1, data[i:i + 16384])
                    for i in range(0, len(data), 16384))


def varint(value):
    """A number as protobuf writes it."""
    groups = []
    while True:
        groups.append(value & 0x7f | (0x80 if value > 0x7f else 0))
        value >>= 7
        if not value:
            return bytes(groups)


def field(number, value):
    """A protobuf field: of a number, or of bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def forward_request(module, length, width):
    """A ForwardRequest of one sequence."""
    tensor = (field(1, 1) + field(2, varint(1) + varint(length)
                                  + varint(width))
              + field(3, bytes(4 * length * width)))
    return field(1, module) + field(2, tensor)


def open_connection(server):
    """A TCP connection that has said hello."""
    host, port = server.address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(PREFACE + frame(4, 0, 0, b""))
    return connection


class Faults:
    """What goes wrong: each method once, for a moment."""

    def __init__(self, arguments, server, modules):
        self._arguments, self._server, self._modules = arguments, server, modules
        self._random = random.Random(1)
        self._held = []
        self.num_dead = 0  # of those that die in bursts

    def _client(self, *words, check=True):
        command = [self._arguments.bin_dir / "attention-client", "--target",
                   self._server.target, *map(str, words)]
        return subprocess.run(command, check=check, capture_output=True)

    def killed_client(self):
        """A client that dies in the middle of whatever it does."""
        command = [self._arguments.bin_dir / "attention-client", "--target",
                   self._server.target, "bench", "base", "--random",
                   "4,500,64", "--concurrency", "16", "--duration", "60"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(self._random.uniform(0.05, 0.5))
        process.kill()
        process.wait()

    def half_open(self):
        """A connection that says nothing more, kept for a while."""
        self._held.append(open_connection(self._server))
        if len(self._held) > 20:
            self._held.pop(0).close()

    def unfinished_message(self):
        """A message of which some arrives, on a connection that is cut off."""
        with open_connection(self._server) as connection:
            prefix = b"\0" + struct.pack(">I", 1 << 20)
            connection.sendall(call_headers(FORWARD) + frame(
                0, 0, 1, prefix + bytes(self._random.randrange(1, 16000))))
            time.sleep(0.05)

    def dying_clients(self):
        """A burst of clients that die at once, in the middle of something."""
        request = forward_request(b"base", 100, 64)
        answered = call_headers(FORWARD) + message(request) + frame(0, 1, 1, b"")
        streamed = call_headers(STREAM) + b"".join(
            message(field(1, number) + field(2, request))
            for number in range(2))
        upload = (call_headers(UPLOAD)
                  + message(field(1, field(1, b"upload")))
                  + message(field(2, bytes(1000))))
        for number in range(BURST):
            sent = (answered, streamed, upload)[number % 3]
            with (contextlib.suppress(ConnectionError, TimeoutError),
                  open_connection(self._server) as connection):
                # Some of it, or all: then it dies while it is answered.
                connection.sendall(
                    sent[:self._random.randrange(2 * len(sent))])
                if number % 2:
                    connection.recv(self._random.randrange(1, 200))
                # With a reset instead of an end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                      struct.pack("ii", 1, 0))
                self.num_dead += 1

    def garbage(self):
        """A connection of bytes that are no HTTP/2."""
        host, port = self._server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=10) as one:
            one.sendall(self._random.randbytes(2000))

    def reader_that_stops(self):
        """A client that is stopped with answers on their way, then killed."""
        command = [self._arguments.bin_dir / "attention-client", "--target",
                   self._server.address, "bench", "alone", "--random",
                   "8,2000,32", "--concurrency", "8", "--duration", "60"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        process.kill()
        process.wait()

    def replaced_module(self):
        """The module that others call, replaced by itself."""
        self._client("modules", "load", "base", "--replace")

    def unloaded_module(self):
        """A module of no one's, called, unloaded under the calls, and back."""
        command = [self._arguments.bin_dir / "attention-client", "--target",
                   self._server.target, "bench", "victim", "--random",
                   "1,64,64", "--concurrency", "4", "--duration", "1"]
        calls = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        time.sleep(self._random.uniform(0.1, 0.4))
        self._client("modules", "unload", "victim")
        calls.wait()
        self._client("modules", "load", "victim")

    def run(self, stopped):
        """One after the other, in random order, until told to stop."""
        kinds = [self.killed_client, self.half_open, self.dying_clients,
                 self.dying_clients, self.unfinished_message,
                 self.garbage, self.reader_that_stops, self.replaced_module,
                 self.unloaded_module]
        counts = dict.fromkeys((kind.__name__ for kind in kinds), 0)
        while not stopped.is_set():
            kind = self._random.choice(kinds)
            with contextlib.suppress(ConnectionError, TimeoutError):
                kind()
            counts[kind.__name__] += 1
        for connection in self._held:
            connection.close()
        return counts


def slope(samples):
    """Least squares of (seconds, bytes): bytes a second; 0 of one sample."""
    if len(samples) < 2:
        return 0.0
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    above = sum((x - mean_x) * (y - mean_y) for x, y in samples)
    return above / sum((x - mean_x) ** 2 for x, _ in samples)


def watch(server, seconds, failed):
    """Sample the server's memory until the time is over or a client fails."""
    begin, samples = time.monotonic(), []
    while (now := time.monotonic() - begin) < seconds and not failed():
        samples.append((now, server.resident_bytes()))
        time.sleep(0.5)
    return samples


def soak(arguments, server, modules):
    """Run the clients and the faults. \\return what came of it."""
    stopped, faults = threading.Event(), Faults(arguments, server, modules)
    with (contextlib.ExitStack() as stack,
          concurrent.futures.ThreadPoolExecutor(1) as pool):
        stack.callback(stopped.set)
        loads = []
        for index, (module, shape, concurrency) in enumerate(HONEST):
            loads.append(stack.enter_context(harness.Load(
                arguments.bin_dir, server, module, shape, "--concurrency",
                concurrency, "--warmup", 0, "--duration", arguments.seconds,
                "--verify", 2000, by_tcp=index % 2 == 0)))
        injecting = pool.submit(faults.run, stopped)
        samples = watch(server, arguments.seconds,
                        lambda: (injecting.done()
                                 or any(load.failed() for load in loads)))
        stopped.set()
        counts = injecting.result()
        reports = [load.result(may_fail=True) for load in loads]
    settled = samples[len(samples) // 3:]  # the rest is warm-up
    return {
        "answered": sum(one["codes"].get("OK", 0) for one in reports),
        "failed": [{code: count for code, count in one["codes"].items()
                    if code != "OK"} for one in reports],
        "verified": sum(one["verified"] for one in reports),
        "mismatches": sum(one["mismatches"] for one in reports),
        "faults": counts,
        "dead_clients": faults.num_dead,
        "rss_mib": [samples[0][1] / 2**20, samples[-1][1] / 2**20],
        "rss_slope_mib_per_minute": 60 * slope(settled) / 2**20,
    }


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./dev soak", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin_dir", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--threads", type=int,
                        default=len(os.sched_getaffinity(0)))
    parser.add_argument("--max-slope", type=float, default=1.0,
                        metavar="MIB", help="a minute that memory may grow, "
                        "the first third of the time left out (default: 1)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as directory:
        modules = pathlib.Path(directory) / "modules"
        modules.mkdir()
        harness.write_multi_head_attention(modules, "base", 64, 4)
        harness.write_multi_head_attention(modules, "victim", 64, 4)
        harness.write_attention_alone(modules, "alone", 32)
        with harness.Server(arguments.bin_dir, modules, f"{directory}/socket",
                            "--threads", str(arguments.threads)) as server:
            result = soak(arguments, server, modules)
    result["holds"] = (
        not any(result["failed"]) and result["mismatches"] == 0
        and result["answered"] > 0 and result["dead_clients"] > 0
        and min(result["faults"].values()) > 0
        and result["rss_slope_mib_per_minute"] <= arguments.max_slope)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
