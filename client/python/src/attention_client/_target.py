# SPDX-License-Identifier: Apache-2.0
"""Addresses of servers: what gRPC would take and mean something else is refused."""

from __future__ import annotations

import re
from typing import Tuple

_PORT = "50051"
_EXPECTED = "expected host:port, [IPv6]:port, dns:///host:port or unix:PATH"
# Names that gRPC resolves by itself, to something other than host:port.
_PATHS = ("unix", "unix-abstract", "vsock")
_OTHERS = ("xds", "google-c2p")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[\w.-]+):(\d{1,5})")
_URL = re.compile(
    r"(?:(?:https?|grpcs?|tcp)://|passthrough:/*)([^/?#]*)", re.IGNORECASE
)
_LOOPBACK = re.compile(
    r"(?:.+\.)?localhost\.?|127(?:\.\d+){3}|0\.0\.0\.0|\[::1?\]"
    r"|\[::ffff:127(?:\.\d+){3}\]",
    re.IGNORECASE,
)


def check(target: str) -> None:
    """TypeError or ValueError for what is not the address of a server.

    gRPC itself would take port 443 where there is none, and tell of anything else
    only when a call fails.
    """
    if not isinstance(target, str):
        raise TypeError(f"target: expected a str, got {type(target).__name__}")
    scheme, rest = _split(target)
    if scheme in _OTHERS:
        return
    if scheme in _PATHS:
        if not rest.strip() or (rest.startswith("//") and rest[2:3] != "/"):
            raise _error(target, f"{scheme}:{rest.lstrip('/') or 'PATH'}")
        return
    for address in rest.split(",") if scheme in ("ipv4", "ipv6") else [rest]:
        found = _HOST_AND_PORT.fullmatch(address)
        if not found or not 0 < int(found[2]) < 65536:
            raise _error(target, _likely(target))


def is_local(target: str) -> bool:
    """Whether a target that `check` passes is on this machine for sure."""
    scheme, rest = _split(target)
    if scheme in _PATHS:
        return True
    if scheme in _OTHERS:
        return False
    hosts = [address.rpartition(":")[0] for address in rest.split(",")]
    return all(_LOOPBACK.fullmatch(host) for host in hosts)


def _split(target: str) -> Tuple[str, str]:
    """The scheme, "" for a plain host:port, and what it is a scheme of."""
    scheme, colon, rest = target.partition(":")
    if colon and scheme in (*_PATHS, *_OTHERS):
        return scheme, rest
    if colon and scheme in ("dns", "ipv4", "ipv6") and not rest.isdigit():
        # dns://AUTHORITY/host:port
        return scheme, re.sub(r"^//[^/]*/", "", rest)
    return "", target


def _likely(target: str) -> str:
    """What was probably meant; "" when there is no telling."""
    url = _URL.match(target)
    rest = url[1] if url else _split(target)[1].strip()
    if rest.startswith("/") or rest.endswith(".sock"):
        return f"unix:{rest}"
    host, _, port = rest.rpartition(":")
    if rest.count(":") > 1 and not rest.startswith("["):
        return f"[{rest}]:{_PORT}"
    if rest.startswith("[") and rest.endswith("]"):
        host, port = rest, ""
    elif ":" not in rest:
        host, port = rest, ""
    port = port if port.isdigit() and 0 < int(port) < 65536 else _PORT
    likely = f"{host or 'localhost'}:{port}"
    return likely if rest and _HOST_AND_PORT.fullmatch(likely) else ""


def _error(target: str, likely: str) -> ValueError:
    hint = f'; did you mean "{likely}"?' if likely else ""
    return ValueError(f'target is "{target}", {_EXPECTED}{hint}')
