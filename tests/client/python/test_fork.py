# SPDX-License-Identifier: Apache-2.0
"""Processes that fork beside a client.

Each test runs a program of its own, so that a hang ends with it. The program has
ADDRESS, a client that has called the module "m", and `fork`, which runs a function
in a forked process and says "ok" when it did not raise.
"""

import subprocess
import sys
import textwrap

import pytest

_PRELUDE = """
import asyncio, gc, multiprocessing, os, sys, threading, warnings
import numpy as np
from attention_client import AsyncAttentionClient, AttentionClient, ForwardRequest
from attention_client import AttentionError
from numpy_attention import CONFIG, WIDTH, make_weights

ADDRESS = sys.argv[1]
warnings.simplefilter("ignore", DeprecationWarning)  # A fork with threads.
x = np.ones((2, WIDTH), np.float32)
client = AttentionClient(ADDRESS)
client.upload("m", CONFIG, make_weights(), replace=True)
want = client.forward("m", x).output

def same(result):
    np.testing.assert_array_equal(result.output, want)

def call(client=client):
    same(client.forward("m", x, timeout=20))

def fork(function=call):
    context = multiprocessing.get_context("fork")
    process = context.Process(target=function)
    process.start()
    process.join(30)
    if process.exitcode is None:
        process.kill()
        print("hangs", flush=True)
    else:
        print("ok" if process.exitcode == 0 else "failed", flush=True)
"""


@pytest.fixture
def run(address):
    """Runs a program; returns the words it printed."""

    def run_program(program, target=address):
        path = "; ".join(f"sys.path.append({p!r})" for p in sys.path if p)
        code = f"import sys; {path}\n{_PRELUDE}\n{textwrap.dedent(program)}"
        command = [sys.executable, "-c", code, target]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return run_program


def test_a_fork_beside_a_client_goes_on(run):
    assert run("fork(lambda: None); call(); print('ok')") == ["ok", "ok"]


def test_both_processes_use_the_client_that_was_there(run):
    assert run("fork(); call(); print('ok')") == ["ok", "ok"]


def test_a_forked_process_makes_clients_of_its_own(run):
    assert run("fork(lambda: call(AttentionClient(ADDRESS))); call()") == ["ok"]


def test_many_forks_in_a_row(run):
    program = """
    for _ in range(30):
        fork()
        call()
    """
    assert run(program) == ["ok"] * 30


def test_a_forked_process_forks_again(run):
    assert run("fork(lambda: (call(), fork(), call()))") == ["ok", "ok"]


def test_a_fork_over_a_unix_socket(run, unix_address):
    assert run("fork(); call()", unix_address) == ["ok"]


def test_clients_that_are_gone_or_closed_before_the_fork(run):
    program = """
    for kept in range(10):
        gone = AttentionClient(ADDRESS)
        call(gone)
        if kept % 2:
            gone.close()
        del gone
        gc.collect()
        fork()
    """
    assert run(program) == ["ok"] * 10


def test_calls_of_other_threads_are_answered_all_the_same(run):
    program = """
    big = np.ones((4000, WIDTH), np.float32)
    started, stop, done = threading.Event(), threading.Event(), []

    def work():
        while not stop.is_set():
            started.set()
            assert client.forward("m", big).output.shape == big.shape
        done.append(True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    for _ in range(5):
        fork()
    stop.set()
    for thread in threads:
        thread.join()
    print(len(done))
    """
    assert run(program) == ["ok"] * 5 + ["4"]


def test_a_stream_goes_on_after_a_fork_by_who_reads_it(run):
    program = """
    seen = []
    for answer in client.forward_stream(ForwardRequest("m", x) for _ in range(200)):
        same(answer.result())
        if not seen:
            fork()
        seen.append(answer.index)
    print(sorted(seen) == list(range(200)))
    """
    assert run(program) == ["ok", "True"]


def test_a_stream_goes_on_after_a_fork_by_its_requests(run):
    program = """
    def requests():
        for number in range(200):
            if number % 100 == 50:
                fork(lambda: None)
            yield ForwardRequest("m", x)

    results = client.forward_many(requests())
    for result in results:
        same(result)
    print(len(results))
    """
    assert run(program) == ["ok", "ok", "200"]


def test_an_upload_that_a_fork_ends_is_not_sent_twice(run):
    program = """
    import attention_client._safetensors as safetensors
    forked = threading.Event()
    weights = make_weights()
    to_bytes = safetensors.to_bytes

    def forks_once(array):  # While the upload is under way.
        if array is weights["in_proj_bias"]:
            fork(lambda: None)
            forked.set()
        return to_bytes(array)

    safetensors.to_bytes = forks_once
    try:
        client.upload("other", CONFIG, weights)
    except AttentionError as error:
        forked.wait()
        print(type(error).__name__)
    """
    assert run(program) == ["ok", "CallCancelledError"]


def test_asyncio_clients_on_both_sides(run):
    program = """
    there = AsyncAttentionClient(ADDRESS)

    async def main():
        same(await there.forward("m", x))

    asyncio.run(main())
    for _ in range(5):
        fork(lambda: asyncio.run(main()))
        asyncio.run(main())
    """
    assert run(program) == ["ok"] * 5


def test_a_fork_inside_an_event_loop(run):
    program = """
    there = AsyncAttentionClient(ADDRESS)

    async def main():
        same(await there.forward("m", x))
        fork(call)
        same(await there.forward("m", x))
        print("ok")

    asyncio.run(main())
    """
    assert run(program) == ["ok", "ok"]


def test_calls_of_an_event_loop_in_another_thread_are_answered(run):
    program = """
    there = AsyncAttentionClient(ADDRESS)
    big = np.ones((4000, WIDTH), np.float32)
    started, stop = threading.Event(), threading.Event()

    async def main():
        while not stop.is_set():
            started.set()
            await asyncio.gather(*(there.forward("m", big) for _ in range(2)))
        print("answered", flush=True)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    started.wait()
    for _ in range(3):
        fork()
    stop.set()
    thread.join()
    """
    assert run(program) == ["ok"] * 3 + ["answered"]


_DEAD = """
import socket
reserved = socket.socket()  # Bound and not listening: nobody is there.
reserved.bind(("127.0.0.1", 0))
DEAD = "127.0.0.1:%d" % reserved.getsockname()[1]
client.close()
errors = []  # Kept, with whatever they hold.
"""


def test_forks_after_a_connection_that_failed(run):
    program = """
    for _ in range(12):
        with AttentionClient(DEAD) as there:
            try:
                there.modules.list()
            except AttentionError as error:
                errors.append(error)
            fork(lambda: None)
    print(len(errors))
    """
    assert run(_DEAD + textwrap.dedent(program)) == ["ok"] * 12 + ["12"]


def test_forks_after_a_connection_of_asyncio_that_failed(run):
    program = """
    async def main():
        async with AsyncAttentionClient(DEAD) as there:
            try:
                await there.modules.list()
            except AttentionError as error:
                errors.append(error)
            fork(lambda: None)

    for _ in range(12):
        asyncio.run(main())
    print(len(errors))
    """
    assert run(_DEAD + textwrap.dedent(program)) == ["ok"] * 12 + ["12"]


def test_a_loop_that_closes_amid_a_fork(run):
    program = """
    class Closing:
        def is_closed(self):
            return False

        def call_soon_threadsafe(self, function):
            raise RuntimeError("Event loop is closed")

    class Call:
        def cancel(self):
            pass

    sys.unraisablehook = lambda error: print("raised", flush=True)
    there = AsyncAttentionClient(ADDRESS)
    asyncio.run(there.modules.list())
    there._connection._calls[Call()] = Closing()
    fork(lambda: print(len(there._connection._calls), flush=True))
    call()
    """
    assert run(program) == ["0", "ok"]


def test_a_connection_that_cannot_be_closed_leaves_the_others_closed(run):
    program = """
    def raises():
        raise RuntimeError

    sys.unraisablehook = lambda error: print("raised", flush=True)
    others = [AttentionClient(ADDRESS) for _ in range(5)]
    for there in others:
        call(there)
        there._connection.lose_ = there._connection.lose
        there._connection.lose = lambda c=there._connection: (c.lose_(), raises())
    fork()
    call()
    print([there._connection._stubs for there in others] == [None] * 5)
    """
    assert run(program) == ["raised", "ok", "True"]


def test_a_fork_beside_a_channel_of_somebody_else_warns(run):
    program = """
    import grpc
    import attention_client._connection as connection
    connection._MOST_SECONDS = 0.2
    other = grpc.insecure_channel(ADDRESS)
    grpc.channel_ready_future(other).result(20)
    call()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connection._before_fork()  # A fork itself may hang.
        connection._after_fork()
    call()
    print(len(caught), caught[0].category.__name__, "close other" in str(caught[0]))
    """
    assert run(program) == ["1", "RuntimeWarning", "True"]


def test_a_kept_error_of_a_stream_that_a_fork_ended(run):
    program = """
    there = AsyncAttentionClient(ADDRESS)
    started, kept = threading.Event(), []

    async def requests():
        yield ForwardRequest("m", x)
        await asyncio.sleep(60)

    async def main():
        try:
            async for answer in there.forward_stream(requests()):
                same(answer.result())
                started.set()
        except AttentionError as error:
            kept.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    started.wait()
    fork()
    thread.join()
    call()
    fork()
    print(type(kept[0]).__name__)
    """
    assert run(program) == ["ok", "ok", "CallCancelledError"]
