# SPDX-License-Identifier: Apache-2.0
"""Bookkeeping of a stream: which answer belongs to which request."""

from __future__ import annotations

import dataclasses
from typing import (
    AsyncIterable,
    AsyncIterator,
    Dict,
    Iterable,
    Iterator,
    Optional,
    Union,
)

from . import _forward, errors
from ._forward import ForwardRequest, ForwardResult
from ._generated import attention_service_pb2

Requests = Union[Iterable[ForwardRequest], AsyncIterable[ForwardRequest]]


@dataclasses.dataclass(frozen=True, eq=False)
class StreamAnswer:
    """The answer to one request of a stream.

    Attributes:
        index: the request's place among the requests, from 0.
        error: why it failed, or None.
    """

    index: int
    error: Optional[errors.AttentionError]
    _result: Optional[ForwardResult]

    def result(self) -> ForwardResult:
        """What was computed; raises `error` if there is one."""
        if self.error is not None:
            raise self.error
        assert self._result is not None
        return self._result


class StreamState:
    """One stream's requests by id.

    `messages` runs in gRPC's thread, `answer` in the caller's; they share a dict
    whose single operations are atomic.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._open: Dict[int, ForwardRequest] = {}
        self._failure: Optional[BaseException] = None

    def messages(self) -> Iterator[attention_service_pb2.ForwardStreamRequest]:
        """What is sent; ends early where a request cannot be made."""
        assert isinstance(self._requests, Iterable)
        try:
            for index, request in enumerate(self._requests):
                yield self._message(index, request)
        except Exception as error:  # gRPC would only say that iterating failed.
            self._failure = error

    async def async_messages(
        self,
    ) -> AsyncIterator[attention_service_pb2.ForwardStreamRequest]:
        """The same, of an asynchronous or an ordinary iterable."""
        index = 0
        try:
            if isinstance(self._requests, AsyncIterable):
                async for request in self._requests:
                    yield self._message(index, request)
                    index += 1
                return
            for request in self._requests:
                yield self._message(index, request)
                index += 1
        except Exception as error:
            self._failure = error

    def answer(
        self, response: attention_service_pb2.ForwardStreamResponse
    ) -> StreamAnswer:
        """The answer a message holds."""
        index = response.id - 1
        request = self._open.pop(index)
        if response.HasField("error"):
            error = errors.from_number(response.error.code, response.error.message)
            return StreamAnswer(index, error, None)
        result = _forward.to_result(request, response.response)
        return StreamAnswer(index, None, result)

    def finish(self) -> None:
        """Raise what making the requests raised."""
        if self._failure is not None:
            raise self._failure

    def _message(
        self, index: int, request: ForwardRequest
    ) -> attention_service_pb2.ForwardStreamRequest:
        message = _forward.to_message(request)
        self._open[index] = request
        # The server answers what it cannot parse with id 0.
        return attention_service_pb2.ForwardStreamRequest(id=index + 1, request=message)
