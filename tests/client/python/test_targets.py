# SPDX-License-Identifier: Apache-2.0
"""Addresses, proxies and channel options."""

import re

import numpy as np
import pytest
from attention_client import (
    AsyncAttentionClient,
    AttentionClient,
    ForwardRequest,
    TooLargeError,
    _target,
)
from numpy_attention import CONFIG, WIDTH, make_weights

KINDS = [AttentionClient, AsyncAttentionClient]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "target",
    [
        "localhost:50051",
        "[::1]:50051",
        "dns:server:1",
        "dns:///server.example:443",
        "dns://8.8.8.8/server:443",
        "ipv4:127.0.0.1:1,127.0.0.2:2",
        "ipv6:[::1]:50051",
        "unix:relative/path",
        "unix:///run/attention.sock",
        "unix-abstract:name",
        "xds:///server",
    ],
)
def test_takes_addresses_of_servers(kind, target):
    assert kind(target).target == target


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("target", "likely"),
    [
        ("localhost", "localhost:50051"),
        ("server.example", "server.example:50051"),
        ("localhost:", "localhost:50051"),
        (":50051", "localhost:50051"),
        ("localhost:0", "localhost:50051"),
        ("localhost:70000", "localhost:50051"),
        ("http://localhost:8080", "localhost:8080"),
        ("https://server/path", "server:50051"),
        ("grpc://server:1", "server:1"),
        ("passthrough:///server:1", "server:1"),
        ("::1", "[::1]:50051"),
        ("[::1]", "[::1]:50051"),
        ("dns:///server", "server:50051"),
        ("/run/attention.sock", "unix:/run/attention.sock"),
        ("unix:", "unix:PATH"),
        ("unix://relative", "unix:relative"),
        (" localhost:1", "localhost:1"),
    ],
)
def test_offers_what_was_probably_meant(kind, target, likely):
    text = re.escape(f'target is "{target}", expected host:port')
    with pytest.raises(ValueError, match=f'{text}.*did you mean "{re.escape(likely)}"'):
        kind(target)


@pytest.mark.parametrize("target", ["", " ", "a b:1", "?", "unix", "a:b:c:"])
def test_refuses_what_is_no_address(target):
    with pytest.raises(ValueError, match="expected host:port"):
        AttentionClient(target)


def test_an_address_is_a_string():
    with pytest.raises(TypeError, match="expected a str, got int"):
        AttentionClient(50051)


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_a_proxy_is_not_asked_for_this_machine(
    address, unix_address, monkeypatch, variable
):
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    port = address.rpartition(":")[2]

    for target in (address, f"localhost:{port}", f"dns:///{address}", unix_address):
        with AttentionClient(target) as client:
            assert client.modules.list(timeout=20) is not None


@pytest.mark.parametrize(
    "options",
    [
        {"grpc.max_receive_message_length": 1},
        [("grpc.max_receive_message_length", 1)],
    ],
)
def test_channel_options_go_before_the_clients_own(address, client, name, options):
    client.upload(name, CONFIG, make_weights())

    with AttentionClient(address, options=options) as limited:
        with pytest.raises(TooLargeError, match="larger than max") as caught:
            limited.modules.get(name)

    assert "the client's option grpc.max_receive_message_length" in str(caught.value)
    assert "--max-message-bytes" not in str(caught.value)


def test_a_stream_is_not_limited_by_what_the_client_may_receive(address, client, name):
    client.upload(name, CONFIG, make_weights())
    requests = [
        ForwardRequest(name, np.zeros((count, WIDTH), np.float32)) for count in (9, 300)
    ]
    options = {"grpc.max_receive_message_length": 5000}

    with AttentionClient(address, options=options) as limited:
        with pytest.raises(TooLargeError, match="grpc.max_receive_message_length"):
            limited.forward_many(requests)


def test_a_channel_option_is_a_name_with_a_number_or_a_string(address):
    with pytest.raises(TypeError, match="options: expected names with integers"):
        AttentionClient(address, options={"grpc.keepalive_time_ms": None})


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("localhost:1", True),
        ("127.8.9.10:1", True),
        ("0.0.0.0:1", True),
        ("[::]:1", True),
        ("[::1]:1", True),
        ("10.0.0.1:1", False),
        ("[::2]:1", False),
        ("127.example.org:1", False),
    ],
)
def test_what_is_on_this_machine(target, local):
    assert _target.is_local(target) == local
