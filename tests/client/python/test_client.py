# SPDX-License-Identifier: Apache-2.0
"""AttentionClient.forward with NumPy."""

import concurrent.futures

import attention_server
import grpc
import numpy as np
import pytest
from attention_client import (
    AttentionClient,
    AttentionError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    UnavailableError,
    UnknownModuleError,
    errors,
)
from numpy_attention import CONFIG, WIDTH, assert_close, attention, make_weights

WEIGHTS = make_weights()


@pytest.fixture(scope="module", autouse=True)
def module(client):
    client.upload("numpy", CONFIG, WEIGHTS)


def rows(*shape, seed=1):
    random = np.random.default_rng(seed)
    return random.standard_normal((*shape, WIDTH)).astype(np.float32)


def test_computes_multi_head_attention(client):
    query = rows(2, 5)

    result = client.forward(
        "numpy", query, need_weights=True, average_attn_weights=False
    )

    assert result.output.dtype == np.float32
    for number in range(2):
        output, weights = attention(WEIGHTS, query[number])
        assert_close(result.output[number], output)
        assert_close(result.weights[number], weights)


def test_weights_are_absent_unless_asked_for(client):
    assert client.forward("numpy", rows(3)).weights is None


def test_tells_version_batch_and_time(client):
    result = client.forward("numpy", rows(3))

    assert result.module_version >= 1
    assert result.batch_size >= 1
    timing = result.timing
    assert timing.compute > 0
    assert timing.total >= timing.decode + timing.queue + timing.compute


def test_masks_a_boolean_attn_mask_where_true(client):
    hidden = np.triu(np.ones((5, 5), dtype=bool), 1)
    query = rows(5)

    result = client.forward("numpy", query, attn_mask=hidden)

    assert_close(result.output, attention(WEIGHTS, query, hidden)[0])


@pytest.mark.parametrize("causal", [True, "top_left", "bottom_right"])
def test_causal_hides_later_keys(client, causal):
    query = rows(5)

    result = client.forward("numpy", query, causal=causal)

    hidden = np.triu(np.ones((5, 5), dtype=bool), 1)
    assert_close(result.output, attention(WEIGHTS, query, hidden)[0])


@pytest.mark.parametrize("lengths", [[5, 3], np.array([5, 3], np.int32)])
def test_valid_lens_are_lists_or_arrays(client, lengths):
    query = rows(2, 5)

    result = client.forward("numpy", query, valid_lens=lengths)

    hidden = np.arange(5) >= np.array([[3]])
    assert_close(result.output[1], attention(WEIGHTS, query[1], hidden)[0])


def test_key_padding_mask_hides_keys(client):
    query = rows(2, 5)
    padding = np.arange(5) >= np.array([[5], [2]])

    result = client.forward("numpy", query, key_padding_mask=padding)

    assert_close(result.output[1], attention(WEIGHTS, query[1], padding[1:])[0])


def test_ragged_batch_is_a_list_of_arrays(client):
    query = [rows(3, seed=2), rows(1, seed=3), rows(6, seed=4)]

    result = client.forward("numpy", query, need_weights=True)

    assert len(result.output) == len(result.weights) == 3
    for got, weights, sequence in zip(result.output, result.weights, query):
        output, heads = attention(WEIGHTS, sequence)
        assert_close(got, output)
        assert_close(weights, heads.mean(0))


def test_ragged_keys_may_have_lengths_of_their_own(client):
    query = [rows(2), rows(4)]
    key = [rows(5, seed=5), rows(1, seed=6)]

    result = client.forward("numpy", query, key, need_weights=True)

    assert [w.shape for w in result.weights] == [(2, 5), (4, 1)]
    alone = client.forward("numpy", query[0], key[0], need_weights=True)
    np.testing.assert_array_equal(result.output[0], alone.output)
    np.testing.assert_array_equal(result.weights[0], alone.weights)


def test_weights_of_a_ragged_batch_keep_appended_columns(client, name):
    config = {"multi_head_attention": {**CONFIG["multi_head_attention"]}}
    config["multi_head_attention"]["add_zero_attn"] = True
    client.upload(name, config, WEIGHTS)

    result = client.forward(name, [rows(2), rows(4)], need_weights=True)

    assert [w.shape for w in result.weights] == [(2, 3), (4, 5)]
    assert_close(result.weights[0].sum(-1), np.ones(2))


def test_a_masked_row_follows_the_policy(client):
    hidden = np.ones((1, 1), dtype=bool)

    outputs = {
        policy: client.forward(
            "numpy", rows(1), attn_mask=hidden, masked_row_policy=policy
        ).output
        for policy in ("torch", "zero", "nan")
    }

    assert_close(outputs["zero"][0], WEIGHTS["out_proj.bias"])
    assert_close(outputs["torch"], outputs["zero"])
    assert np.isnan(outputs["nan"]).all()


def test_messages_of_more_than_4_mib_go_both_ways(client):
    query = rows(400, 200)
    assert query.nbytes > 4 << 20

    output = client.forward("numpy", query).output

    assert_close(output[399], attention(WEIGHTS, query[399])[0])


def test_one_client_serves_many_threads(client):
    queries = [rows(4, seed=seed) for seed in range(64)]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda query: client.forward("numpy", query), queries))

    for query, result in zip(queries, results):
        assert_close(result.output, attention(WEIGHTS, query)[0])


def test_errors_carry_the_servers_text(client):
    with pytest.raises(InvalidRequestError, match="got 3 of shape") as caught:
        client.forward("numpy", np.zeros((2, 3), np.float32))

    assert isinstance(caught.value, (AttentionError, ValueError))
    assert caught.value.code.name == "INVALID_ARGUMENT"


def test_a_request_beyond_the_servers_budget_is_an_overload(server_binary):
    options = ("--max-queue-bytes", "1048576")
    with attention_server.AttentionServer(server_binary, *options) as small:
        with AttentionClient(small.address) as client:
            client.upload("numpy", CONFIG, WEIGHTS)
            with pytest.raises(OverloadedError, match="budget of 1048576 bytes") as got:
                client.forward("numpy", rows(20, 2000))

    assert got.value.retry_after is None  # It would never fit.


def test_an_overload_says_when_to_try_again():
    class FullServer(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.RESOURCE_EXHAUSTED

        def details(self):
            return "full"

        def trailing_metadata(self):
            return (("grpc-retry-pushback-ms", "250"),)

    error = errors.from_rpc(FullServer())

    assert isinstance(error, OverloadedError)
    assert (str(error), error.retry_after) == ("full", 0.25)


def test_an_unknown_module_is_a_lookup_error(client):
    with pytest.raises(LookupError, match="nobody") as caught:
        client.forward("nobody", rows(1))

    assert isinstance(caught.value, UnknownModuleError)


def test_a_deadline_is_a_timeout_error(client):
    with pytest.raises(TimeoutError) as caught:
        client.forward("numpy", rows(2000, 5), timeout=1e-6)

    assert isinstance(caught.value, DeadlineExceededError)


def test_no_server_is_a_connection_error(tmp_path):
    with AttentionClient(f"unix:{tmp_path}/nobody") as client:
        with pytest.raises(ConnectionError) as caught:
            client.forward("numpy", rows(1))

    assert isinstance(caught.value, UnavailableError)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"causal": "left"}, "causal: expected one of"),
        ({"masked_row_policy": "one"}, "masked_row_policy: expected one of"),
        ({"valid_lens": [1.5]}, "expected integers"),
        ({"key": [rows(1)]}, "expected a list of arrays if query is one"),
        ({"attn_mask": "mask"}, "expected a numpy.ndarray or a torch.Tensor"),
        ({"attn_mask": np.zeros((1, 1), np.uint8)}, "dtype uint8: expected one of"),
    ],
)
def test_what_the_wire_cannot_say_is_refused_before_it_is_sent(client, arguments, text):
    with pytest.raises((TypeError, ValueError), match=text) as caught:
        client.forward("numpy", rows(1), **arguments)

    assert not isinstance(caught.value, AttentionError)


def test_ragged_arrays_must_be_matrices(client):
    with pytest.raises(ValueError, match=r"query\[1\]: expected a 2-D array"):
        client.forward("numpy", [rows(1), rows(1, 1)])


def test_a_closed_client_does_not_call(address):
    client = AttentionClient(address)
    client.close()

    with pytest.raises(ValueError, match="closed"):
        client.forward("numpy", rows(1))
