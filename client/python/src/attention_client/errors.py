# SPDX-License-Identifier: Apache-2.0
"""What a call may raise.

Every error is an `AttentionError` and carries the server's text. The classes
also derive from the built-in exception with their meaning, so that
`except TimeoutError` works.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any, Dict, Mapping, Optional, Type

import grpc


class AttentionError(Exception):
    """A call failed.

    Attributes:
        code: the status, a grpc.StatusCode.
        message: the server's text: what, got, expected, where.
        retry_after: seconds after which the server asks to try again, or None.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    def __reduce__(self) -> Any:
        return type(self), (self.code, self.message, self.retry_after)


class InvalidRequestError(AttentionError, ValueError):
    """INVALID_ARGUMENT: tensors or options that do not fit the module."""


class UnknownModuleError(AttentionError, LookupError):
    """NOT_FOUND: no such module."""


class ModuleExistsError(AttentionError):
    """ALREADY_EXISTS: the name is taken and `replace` was not given."""


class PreconditionError(AttentionError):
    """FAILED_PRECONDITION: the server is not set up for this, such as `persist`
    without a repository."""


class OverloadedError(AttentionError):
    """RESOURCE_EXHAUSTED: the server's memory budget is full. `retry_after` says when
    to try again, if at all."""


class TooLargeError(AttentionError, ValueError):
    """RESOURCE_EXHAUSTED: the request, its answer or the module is longer than the
    server takes (--max-message-bytes, --max-module-bytes) or than a message can be.
    It will not fit later either."""


class UnavailableError(AttentionError, ConnectionError):
    """UNAVAILABLE: no server there, or it drains, or the module is loading."""


class DeadlineExceededError(AttentionError, TimeoutError):
    """DEADLINE_EXCEEDED: no answer within the timeout."""


class CallCancelledError(AttentionError):
    """CANCELLED: the call was given up, for instance by closing the client."""


_CLASSES: Dict[grpc.StatusCode, Type[AttentionError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: UnknownModuleError,
    grpc.StatusCode.ALREADY_EXISTS: ModuleExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CallCancelledError,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_PUSHBACK = "grpc-retry-pushback-ms"

MAX_MESSAGE_BYTES = (1 << 31) - 1
"""Longest message of protobuf."""

# What a RESOURCE_EXHAUSTED says that is not about the moment, and the server's flag
# behind it. The first text is gRPC's own.
_LONGER_THAN_MAX = re.compile(r"message larger than max \((\d+) vs\.? (\d+)\)")
_MESSAGE_FLAG = "--max-message-bytes"
_TOO_LARGE = (
    (_LONGER_THAN_MAX, _MESSAGE_FLAG),
    (re.compile(r"the answer would take \d+ bytes"), _MESSAGE_FLAG),
    (
        re.compile(
            r"the file is longer than the limit of|the file has \d+ bytes|"
            r"would be stored as a file of \d+ bytes"
        ),
        "--max-module-bytes",
    ),
)


def from_status(
    code: grpc.StatusCode, message: str, retry_after: Optional[float] = None
) -> AttentionError:
    """The error of a status."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after is None:
        for text, flag in _TOO_LARGE:
            if text.search(message):
                if flag not in message:
                    message += f"; the server's {flag} is the limit"
                return TooLargeError(code, message)
    return _CLASSES.get(code, AttentionError)(code, message, retry_after)


def from_number(code: int, message: str) -> AttentionError:
    """The error of a status on a stream, whose code is google.rpc.Code."""
    return from_status(_CODES.get(code, grpc.StatusCode.UNKNOWN), message)


def from_rpc(
    error: Any,
    target: str = "",
    limit: Optional[float] = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> AttentionError:
    """The error of what grpc or grpc.aio raised.

    Says what to check when a call to `target`, of `limit` seconds, got no answer, and
    which of the channel's `options` a message was too long for.
    """
    trailers = {key: value for key, value in error.trailing_metadata() or ()}
    pushback = trailers.get(_PUSHBACK)
    seconds = int(pushback) / 1000 if pushback is not None else None
    code, message = error.code(), error.details() or ""
    option = _own_limit(message, options)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and option:
        message += f"; the client's option {option} is the limit"
        return TooLargeError(code, message)
    if code is grpc.StatusCode.UNAVAILABLE and target:
        message += (
            f"; is the server running at {target}, and neither loading nor draining?"
        )
    if code is grpc.StatusCode.UNIMPLEMENTED and target:
        message += f"; is the server at {target} an attention server of this version?"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and limit is not None:
        message += (
            f"; allow more than the timeout of {limit:g} s, or send less at a time"
        )
    return from_status(code, message, seconds)


def _own_limit(message: str, options: Mapping[str, Any]) -> str:
    """The channel option that a message was longer than, or ""."""
    found = _LONGER_THAN_MAX.search(message)
    if not found or message.startswith("SERVER:"):
        return ""
    sent = "Sent message" in message
    option = f"grpc.max_{'send' if sent else 'receive'}_message_length"
    # Earlier releases of gRPC do not say whose limit it is; the number does.
    own = message.startswith("CLIENT:") or options.get(option) == int(found[2])
    return option if own else ""


def message_limit(error: AttentionError) -> Optional[int]:
    """The server's --max-message-bytes where gRPC told it."""
    found = _LONGER_THAN_MAX.search(error.message)
    return int(found[2]) if found and _MESSAGE_FLAG in error.message else None


def check_size(num_bytes: int, limit: int = MAX_MESSAGE_BYTES) -> None:
    """TooLargeError for a request that is longer than `limit`."""
    if num_bytes <= limit:
        return
    whose = (
        "the limit of any message, whatever"
        if limit == MAX_MESSAGE_BYTES
        else "the limit of the server's"
    )
    raise TooLargeError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"the request takes {num_bytes} bytes, expected at most {limit}, {whose} "
        f"{_MESSAGE_FLAG}; split the batch, or use `causal` or "
        "`valid_lens` in place of large masks",
    )
