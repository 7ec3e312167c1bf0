# SPDX-License-Identifier: Apache-2.0
"""Bookkeeping of a stream: which answer belongs to which request."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import threading
from typing import (
    AsyncIterable,
    AsyncIterator,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Union,
)

from . import _forward, _wire, errors
from ._forward import ForwardRequest, ForwardResult

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

    `messages` runs in gRPC's threads, the rest in the caller's. Over a new call what
    is unanswered is sent again, so a stream outlives the call that carried it.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._source: Optional[Iterator[ForwardRequest]] = None
        self._async_source: Optional[AsyncIterator[ForwardRequest]] = None
        self._open: Dict[int, ForwardRequest] = {}
        self._refused: Deque[StreamAnswer] = collections.deque()
        self._failure: Optional[BaseException] = None
        # Held while a request is asked for, in which the caller's iterable may fork.
        self._lock = threading.Lock()
        self._async_lock: Optional[asyncio.Lock] = None  # Made in the loop.
        self._calls = 0
        self._count = 0
        self._unsent: List[int] = []
        self._limit = errors.MAX_MESSAGE_BYTES

    def messages(self) -> Iterator[bytes]:
        """What one call sends; ends early where a request cannot be made."""
        assert isinstance(self._requests, Iterable)
        with self._lock:
            if self._source is None:
                self._source = iter(self._requests)
            number = self._begin()
        while True:
            with self._lock:
                if number != self._calls:
                    return  # Another call goes on.
                try:
                    message = self._unsent_message()
                    if message is None:
                        message = self._new_message(next(self._source))
                except StopIteration:
                    return
                except Exception as error:  # gRPC would only say: iterating failed.
                    self._failure = error
                    return
            if message is not None:
                yield message

    async def async_messages(self) -> AsyncIterator[bytes]:
        """The same, of an asynchronous or an ordinary iterable."""
        if not isinstance(self._requests, AsyncIterable):
            for ordinary in self.messages():
                yield ordinary
            return
        if self._async_lock is None:
            self._async_lock = asyncio.Lock()
            self._async_source = self._requests.__aiter__()
        assert self._async_source is not None
        async with self._async_lock:
            number = self._begin()
        while True:
            async with self._async_lock:
                if number != self._calls:
                    return
                try:
                    message = self._unsent_message()
                    if message is None:
                        request = await self._async_source.__anext__()
                        message = self._new_message(request)
                except StopAsyncIteration:
                    return
                except Exception as error:
                    self._failure = error
                    return
            if message is not None:
                yield message

    def answer(self, received: _wire.StreamAnswer) -> StreamAnswer:
        """The answer a message holds."""
        index = received.id - 1
        request = self._open.pop(index)
        if received.error is not None:
            error = errors.from_number(received.error.code, received.error.message)
            return StreamAnswer(index, error, None)
        result = _forward.to_result(request, received.answer)
        return StreamAnswer(index, None, result)

    def refused(self) -> Iterator[StreamAnswer]:
        """The answers to what was too large to be sent, since the last time."""
        while self._refused:
            yield self._refused.popleft()

    def learn_limit(self, error: errors.AttentionError) -> bool:
        """Whether an error tells the server's limit, which was not known before.

        The call it ended has failed for all requests, but only some are longer.
        """
        limit = errors.message_limit(error)
        if limit is None or limit >= self._limit:
            return False
        self._limit = limit
        return True

    def longest(self) -> Optional[ForwardRequest]:
        """The unanswered request of the most bytes, if there is one."""
        unanswered = list(self._open.values())
        return max(unanswered, key=_forward.num_bytes) if unanswered else None

    def finish(self) -> None:
        """Raise what making the requests raised."""
        if self._failure is not None:
            raise self._failure

    def _begin(self) -> int:
        """The number of a new call, which first sends what is unanswered."""
        self._calls += 1
        self._unsent = sorted(self._open, reverse=True)
        return self._calls

    def _unsent_message(self) -> Optional[bytes]:
        """The next message to be sent again; None where nothing is left."""
        while self._unsent:
            index = self._unsent.pop()
            if index not in self._open:  # Answered by the call before.
                continue
            message = self._message(index, self._open[index])
            if message is not None:
                return message
        return None

    def _new_message(self, request: ForwardRequest) -> Optional[bytes]:
        """The message of a new request; None where it was refused."""
        message = self._message(self._count, request)
        self._count += 1
        return message

    def _message(self, index: int, request: ForwardRequest) -> Optional[bytes]:
        try:
            # The server answers what it cannot parse with id 0.
            message = _forward.to_stream_bytes(index + 1, request, self._limit)
        except errors.TooLargeError as error:
            self._open.pop(index, None)
            self._refused.append(StreamAnswer(index, error, None))
            return None
        self._open[index] = request
        return message
