# SPDX-License-Identifier: Apache-2.0
"""What a call may raise.

Every error is an `AttentionError` and carries the server's text. The classes
also derive from the built-in exception with their meaning, so that
`except TimeoutError` works.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Type

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
    """RESOURCE_EXHAUSTED: the server's memory budget is full, or the message is
    longer than it accepts. `retry_after` says when to try again, if at all."""


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


def from_status(
    code: grpc.StatusCode, message: str, retry_after: Optional[float] = None
) -> AttentionError:
    """The error of a status."""
    return _CLASSES.get(code, AttentionError)(code, message, retry_after)


def from_number(code: int, message: str) -> AttentionError:
    """The error of a status on a stream, whose code is google.rpc.Code."""
    return from_status(_CODES.get(code, grpc.StatusCode.UNKNOWN), message)


def from_rpc(error: Any) -> AttentionError:
    """The error of what grpc or grpc.aio raised."""
    trailers = {key: value for key, value in error.trailing_metadata() or ()}
    pushback = trailers.get(_PUSHBACK)
    seconds = int(pushback) / 1000 if pushback is not None else None
    return from_status(error.code(), error.details() or "", seconds)
