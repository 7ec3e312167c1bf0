# SPDX-License-Identifier: Apache-2.0
"""AsyncAttentionClient."""

import asyncio

import numpy as np
import pytest
from attention_client import (
    AsyncAttentionClient,
    ForwardRequest,
    InvalidRequestError,
    ModuleExistsError,
    UnknownModuleError,
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
