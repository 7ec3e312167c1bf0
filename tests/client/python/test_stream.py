# SPDX-License-Identifier: Apache-2.0
"""Many requests in flight on one stream."""

import numpy as np
import pytest
from attention_client import ForwardRequest, UnknownModuleError
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
