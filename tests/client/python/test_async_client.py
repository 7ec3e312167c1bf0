# SPDX-License-Identifier: Apache-2.0
"""AsyncAttentionClient."""

import asyncio
import concurrent.futures
import sys
import threading

import grpc
import numpy as np
import pytest
from attention_client import (
    AsyncAttentionClient,
    CallCancelledError,
    ForwardRequest,
    InvalidRequestError,
    ModuleExistsError,
    UnknownModuleError,
    _connection,
)
from numpy_attention import CONFIG, WIDTH, assert_close, attention, make_weights

WEIGHTS = make_weights()


def make_queries(count):
    random = np.random.default_rng(9)
    return [random.standard_normal((3, WIDTH)).astype(np.float32) for _ in range(count)]


@pytest.fixture
def run(address, name):
    """Calls a coroutine function with a client and the name of a served module."""

    def run_with_client(function):
        async def main():
            async with AsyncAttentionClient(address) as client:
                await client.upload(name, CONFIG, WEIGHTS)
                return await function(client, name)

        return asyncio.run(main())

    return run_with_client


def test_tasks_share_one_client(run):
    queries = make_queries(64)

    async def call(client, name):
        return await asyncio.gather(*(client.forward(name, q) for q in queries))

    for query, result in zip(queries, run(call)):
        assert_close(result.output, attention(WEIGHTS, query)[0])


def test_streams_from_an_asynchronous_generator(run):
    queries = make_queries(100)

    async def call(client, name):
        async def requests():
            for query in queries:
                yield ForwardRequest(name, query)

        return await client.forward_many(requests())

    results = run(call)
    assert len(results) == 100
    for query, result in zip(queries, results):
        assert_close(result.output, attention(WEIGHTS, query)[0])


def test_a_request_that_cannot_be_sent_is_raised(run):
    async def call(client, name):
        await client.forward_many([ForwardRequest(name, "words")])

    with pytest.raises(TypeError, match="expected a numpy.ndarray"):
        run(call)


def test_manages_modules(run):
    async def call(client, name):
        listed = [module.name for module in await client.modules.list()]
        described = await client.modules.get(name)
        with pytest.raises(ModuleExistsError):
            await client.upload(name, CONFIG, WEIGHTS)
        await client.modules.unload(name)
        with pytest.raises(UnknownModuleError):
            await client.modules.get(name)
        return name in listed, described.state

    assert run(call) == (True, "ready")


def test_errors_are_those_of_the_other_client(run):
    async def call(client, name):
        await client.forward(name, np.zeros((2, 3), np.float32))

    with pytest.raises(InvalidRequestError, match="got 3 of shape"):
        run(call)


def test_a_client_may_be_made_outside_the_loop_it_is_used_in(client, address, name):
    client.upload(name, CONFIG, WEIGHTS)
    (query,) = make_queries(1)
    there = AsyncAttentionClient(address)

    async def call():
        return await there.forward(name, query)

    for _ in range(3):  # One loop after the other.
        output = asyncio.run(call()).output
        assert_close(output, attention(WEIGHTS, query)[0])


def test_loops_in_several_threads_share_a_client(client, address, name):
    client.upload(name, CONFIG, WEIGHTS)
    queries = make_queries(8)
    there = AsyncAttentionClient(address)

    async def call(query):
        results = [await there.forward(name, query) for _ in range(20)]
        return results[-1].output

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda query: asyncio.run(call(query)), queries))

    for query, output in zip(queries, outputs):
        assert_close(output, attention(WEIGHTS, query)[0])


def test_a_closed_client_does_not_call(address):
    async def main():
        async with AsyncAttentionClient(address) as there:
            await there.modules.list()
        await there.modules.list()

    with pytest.raises(ValueError, match="closed"):
        asyncio.run(main())


def test_a_cancelled_task_stays_cancelled(run):
    (query,) = make_queries(1)

    async def call(client, name):
        task = asyncio.ensure_future(client.forward(name, query))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await client.forward(name, query)

    assert_close(run(call).output, attention(WEIGHTS, query)[0])


def test_a_mistake_in_a_configuration_is_raised(client, run):
    config = {**CONFIG, "embed_dim_": 4}

    async def call(there, name):
        await there.upload(name, config, WEIGHTS, replace=True)

    with pytest.raises(ValueError, match="embed_dim_"):
        run(call)
    with pytest.raises(ValueError, match="embed_dim_"):
        client.upload("other", config, WEIGHTS)


class ForkedCall:
    """A call that a fork ends, with `error`."""

    def __init__(self, stubs, error):
        self._stubs = stubs
        self._error = error

    def __await__(self):
        self._stubs.lost = True
        yield from asyncio.sleep(0).__await__()
        raise self._error

    def cancelled(self):
        return isinstance(self._error, asyncio.CancelledError)


def call_that_a_fork_ends(address, error, before=lambda: None):
    """A coroutine function that makes a call, which must not be begun twice."""
    begun = []

    def method(stubs):
        assert not begun
        begun.append(stubs)
        before()
        return ForkedCall(stubs, error)

    async def main(repeat):
        async with AsyncAttentionClient(address) as there:
            await there._connection.call(method, None, repeat=repeat)

    return main


@pytest.mark.parametrize("error", [grpc.RpcError(), asyncio.CancelledError()])
def test_what_changes_the_server_is_not_sent_again_after_a_fork(address, error):
    main = call_that_a_fork_ends(address, error)

    with pytest.raises(CallCancelledError, match="the process forked"):
        asyncio.run(main(repeat=False))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs Task.cancelling")
def test_a_task_cancelled_amid_a_fork_stays_cancelled(address):
    main = call_that_a_fork_ends(
        address, asyncio.CancelledError(), lambda: asyncio.current_task().cancel()
    )

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main(repeat=True))


def test_a_loop_goes_on_while_a_client_waits_for_a_fork(address):
    held, went_on, seen = threading.Event(), threading.Event(), []

    def hold(loop):  # As a fork does, which waits for the loop.
        with _connection._lock:
            loop.call_soon_threadsafe(loop.call_later, 0.01, went_on.set)
            held.set()
            seen.append(went_on.wait(5))

    async def main():
        for use in (lambda there: there.modules.list(), lambda there: there.close()):
            there = AsyncAttentionClient(address)
            went_on.clear()
            held.clear()
            loop = asyncio.get_running_loop()
            thread = threading.Thread(target=hold, args=(loop,))
            thread.start()
            held.wait()
            await use(there)
            thread.join()
            await there.close()

    asyncio.run(main())
    assert seen == [True, True]
