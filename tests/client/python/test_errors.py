# SPDX-License-Identifier: Apache-2.0
"""What errors say and are, and how clients and errors get into other processes."""

import concurrent.futures
import copy
import multiprocessing
import pickle

import attention_server
import grpc
import numpy as np
import pytest
from attention_client import (
    AsyncAttentionClient,
    AttentionClient,
    AttentionError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
    errors,
)
from numpy_attention import CONFIG, WIDTH, make_weights

WEIGHTS = make_weights()
RECEIVE = "grpc.max_receive_message_length"


@pytest.fixture(scope="module")
def small(server_binary):
    """A client of a server that takes little."""
    limits = ("--max-message-bytes", "16384", "--max-module-bytes", "8192")
    with attention_server.AttentionServer(server_binary, *limits) as server:
        with AttentionClient(server.address) as client:
            client.upload("m", CONFIG, WEIGHTS)
            yield client


def assert_too_large(caught, flag):
    assert flag in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert not isinstance(caught.value, OverloadedError)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_request_longer_than_the_server_takes(small):
    with pytest.raises(TooLargeError, match="16384") as caught:
        small.forward("m", np.zeros((1000, WIDTH), np.float32))

    assert_too_large(caught, "--max-message-bytes")


def test_an_answer_longer_than_the_server_sends(small):
    with pytest.raises(TooLargeError, match="16384") as caught:
        small.forward("m", np.zeros((100, WIDTH), np.float32), need_weights=True)

    assert_too_large(caught, "--max-message-bytes")


def test_a_module_longer_than_the_server_takes(small):
    weights = {**WEIGHTS, "more": np.zeros(3000, np.float32)}

    with pytest.raises(TooLargeError, match="8192") as caught:
        small.upload("n", CONFIG, weights)

    assert_too_large(caught, "--max-module-bytes")


@pytest.mark.parametrize(
    "arguments",
    [
        {"attn_mask": np.broadcast_to(np.True_, (1 << 16, 1 << 16))},
        {"key_padding_mask": np.broadcast_to(np.True_, (1 << 16, 1 << 16))},
        {"valid_lens": np.broadcast_to(np.int64(1), (1 << 14, 1 << 14))},
        {"key": np.broadcast_to(np.float32(1), (1 << 24, 64))},
    ],
)
def test_what_no_message_can_hold_is_not_serialised(client, arguments):
    text = "at most 2147483647, the limit of any message, whatever --max-message-bytes"
    with pytest.raises(TooLargeError, match=text) as caught:
        client.forward("m", np.zeros((1, WIDTH), np.float32), **arguments)

    assert_too_large(caught, "--max-message-bytes")


def test_a_request_is_measured_with_all_that_is_sent(client, monkeypatch):
    query = np.zeros((1, WIDTH), np.float32)
    monkeypatch.setattr(errors.check_size, "__defaults__", (query.nbytes,))
    monkeypatch.setattr(errors, "MAX_MESSAGE_BYTES", query.nbytes)

    with pytest.raises(TooLargeError, match="split the batch"):
        client.forward("m", query)


@pytest.mark.parametrize(
    ("text", "options", "flag"),
    [
        ("CLIENT: Received", {}, RECEIVE),
        ("CLIENT: Sent", {}, "grpc.max_send_message_length"),
        ("SERVER: Received", {RECEIVE: 5}, "--max-message-bytes"),
        ("Received", {RECEIVE: 5}, RECEIVE),
        ("Sent", {RECEIVE: 5}, "--max-message-bytes"),
        ("Received", {RECEIVE: 6}, "--max-message-bytes"),
    ],
)
def test_the_limit_that_a_message_was_too_long_for_is_told(text, options, flag):
    class Failed(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.RESOURCE_EXHAUSTED

        def details(self):
            return f"{text} message larger than max (7 vs. 5)"

        def trailing_metadata(self):
            return ()

    error = errors.from_rpc(Failed(), options=options)

    assert isinstance(error, TooLargeError)
    named = [f for f in ("--max-message-bytes", "grpc.max_") if f in error.message]
    assert len(named) == 1 and flag in error.message
    assert errors.message_limit(error) == (5 if flag.startswith("--") else None)


def test_nobody_there_says_what_to_check(tmp_path):
    target = f"unix:{tmp_path}/nobody"

    with AttentionClient(target) as client:
        with pytest.raises(UnavailableError) as caught:
            client.modules.list()

    assert f"is the server running at {target}, and neither" in str(caught.value)


def test_a_timeout_says_how_long_it_was(client, name):
    client.upload(name, CONFIG, WEIGHTS)
    query = np.zeros((2000, 5, WIDTH), np.float32)

    with pytest.raises(DeadlineExceededError, match="more than the timeout of 1e-06 s"):
        client.forward(name, query, timeout=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("causal", "bottom-rigt", 'did you mean "bottom_right"'),
        ("causal", [1], "expected one of False, 'none', True"),
        ("masked_row_policy", "zeros", 'did you mean "zero"'),
    ],
)
def test_a_wrong_option_lists_what_there_is(client, name, value, text):
    with pytest.raises(ValueError, match=text):
        client.forward("m", np.zeros((1, WIDTH), np.float32), **{name: value})


@pytest.mark.parametrize("causal", ["top-left", "bottom-right", "Top_Left"])
def test_options_may_be_spelt_as_on_the_command_line(client, name, causal):
    client.upload(name, CONFIG, WEIGHTS)
    query = np.eye(4, WIDTH, dtype=np.float32)

    result = client.forward(name, query, causal=causal, masked_row_policy="ZERO")

    want = client.forward(name, query, causal=True).output
    np.testing.assert_array_equal(result.output, want)


@pytest.mark.parametrize(
    "kind", [AttentionError, *AttentionError.__subclasses__()], ids=lambda k: k.__name__
)
def test_errors_are_pickled(kind):
    error = kind(grpc.StatusCode.UNKNOWN, "text", 0.5)

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert (again.code, again.message, again.retry_after) == (error.code, "text", 0.5)


@pytest.mark.parametrize("kind", [AttentionClient, AsyncAttentionClient])
def test_a_client_is_pickled_as_what_it_was_made_with(address, kind):
    client = kind(address, timeout=7, options={"grpc.keepalive_time_ms": 10000})

    again = pickle.loads(pickle.dumps(client))

    assert type(again) is kind and again is not client
    assert again._settings == client._settings
    assert copy.deepcopy(client) is client and copy.copy(client) is client


@pytest.mark.parametrize("kind", [AttentionClient, AsyncAttentionClient])
def test_a_client_with_credentials_is_not_pickled(address, kind):
    client = kind(address, credentials=grpc.ssl_channel_credentials())

    with pytest.raises(TypeError, match="make a client with them in the process"):
        pickle.dumps(client)


def _list_modules(client):
    return [module.name for module in client.modules.list()]


def _fail(client):
    client.forward("bad name!", np.zeros((1, WIDTH), np.float32))


def test_clients_and_errors_go_through_spawned_processes(client, name):
    client.upload(name, CONFIG, WEIGHTS)
    spawn = multiprocessing.get_context("spawn")

    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert name in pool.submit(_list_modules, client).result()
        with pytest.raises(InvalidRequestError):
            pool.submit(_fail, client).result()
