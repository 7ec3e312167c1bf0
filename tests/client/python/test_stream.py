# SPDX-License-Identifier: Apache-2.0
"""Many requests in flight on one stream."""

import asyncio

import attention_server
import numpy as np
import pytest
from attention_client import (
    AsyncAttentionClient,
    AttentionClient,
    ForwardRequest,
    TooLargeError,
    UnknownModuleError,
)
from numpy_attention import CONFIG, WIDTH, assert_close, attention, make_weights

WEIGHTS = make_weights()


@pytest.fixture(scope="module", autouse=True)
def module(client):
    client.upload("streamed", CONFIG, WEIGHTS)


def make_requests(count):
    random = np.random.default_rng(7)
    return [
        ForwardRequest(
            "streamed", random.standard_normal((3, WIDTH)).astype(np.float32)
        )
        for _ in range(count)
    ]


def test_every_request_is_answered_under_its_index(client):
    requests = make_requests(300)

    answers = {a.index: a.result() for a in client.forward_stream(requests)}

    assert sorted(answers) == list(range(300))
    for index, result in answers.items():
        assert_close(result.output, attention(WEIGHTS, requests[index].query)[0])


def test_forward_many_keeps_the_order(client):
    requests = make_requests(100)

    results = client.forward_many(iter(requests))

    for request, result in zip(requests, results):
        assert_close(result.output, attention(WEIGHTS, request.query)[0])


def test_a_failing_request_fails_alone(client):
    good = make_requests(4)
    requests = [*good[:2], ForwardRequest("nobody", good[0].query), *good[2:]]

    answers = {answer.index: answer for answer in client.forward_stream(requests)}

    assert [answers[index].error is None for index in range(5)] == [
        True,
        True,
        False,
        True,
        True,
    ]
    with pytest.raises(UnknownModuleError, match="nobody"):
        answers[2].result()


def test_a_request_that_cannot_be_sent_is_raised_behind_the_answers(client):
    requests = [*make_requests(3), ForwardRequest("streamed", "words")]
    answered = []

    with pytest.raises(TypeError, match="expected a numpy.ndarray"):
        for answer in client.forward_stream(requests):
            answered.append(answer.index)

    assert sorted(answered) == [0, 1, 2]


def test_a_stream_may_be_left_early(client):
    stream = client.forward_stream(make_requests(200))

    next(stream)
    stream.close()

    assert client.forward("streamed", make_requests(1)[0].query).output.shape[0] == 3


def answers_of(kind, address, requests):
    """The answers to one stream by index, of either client."""
    if kind == "blocking":
        with AttentionClient(address) as client:
            return {a.index: a for a in client.forward_stream(requests)}

    async def generate():
        for request in requests:
            yield request

    async def main():
        async with AsyncAttentionClient(address) as client:
            given = generate() if kind == "generator" else requests
            return {a.index: a async for a in client.forward_stream(given)}

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["blocking", "asyncio", "generator"])
def test_requests_longer_than_the_server_takes_fail_alone(server_binary, kind):
    requests = make_requests(40)
    long = ForwardRequest("streamed", np.zeros((1000, WIDTH), np.float32))
    for place in (3, 4, 20, 39):
        requests[place] = long
    options = ("--max-message-bytes", "32768")
    with attention_server.AttentionServer(server_binary, *options) as small:
        with AttentionClient(small.address) as client:
            client.upload("streamed", CONFIG, WEIGHTS)
        answers = answers_of(kind, small.address, requests)

    assert sorted(answers) == list(range(40))
    for index, answer in answers.items():
        if requests[index] is long:
            with pytest.raises(TooLargeError, match="32768.*--max-message-bytes"):
                answer.result()
        else:
            want = attention(WEIGHTS, requests[index].query)[0]
            assert_close(answer.result().output, want)


def test_a_request_longer_than_any_message_fails_alone(client):
    huge = np.broadcast_to(np.float32(0), (1 << 24, 64))  # 4 GiB, of 4 bytes.
    requests = make_requests(3)
    requests[1] = ForwardRequest("streamed", huge)

    answers = {answer.index: answer for answer in client.forward_stream(requests)}

    assert isinstance(answers[1].error, TooLargeError)
    assert answers[0].error is None and answers[2].error is None


def test_a_stream_that_a_fork_closes_before_it_begins(address, monkeypatch):
    with AttentionClient(address) as client:
        connection = client._connection
        stubs = connection.stubs

        def lose_once():
            found = stubs()
            monkeypatch.undo()
            connection.lose()
            return found

        monkeypatch.setattr(connection, "stubs", lose_once)
        results = client.forward_many(make_requests(3))

    assert len(results) == 3
