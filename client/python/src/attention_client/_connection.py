# SPDX-License-Identifier: Apache-2.0
"""Channels that are made on first use, closed before a fork, and then made anew.

gRPC has threads that a forked process does not inherit: grpcio 1.51 hangs in a fork
beside an open channel, and later ones leave the new process a broken one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import threading
import time
import warnings
import weakref
from typing import Any, Callable, Dict, Optional, Set, Tuple

import grpc
import grpc.aio

from . import _wire, errors
from ._channel import Settings
from ._generated import module_service_pb2_grpc

# Held while channels are opened, and by whoever forks until that is done.
_lock = threading.RLock()
_connections: weakref.WeakSet[Any] = weakref.WeakSet()
# Whether a channel was opened since gRPC's threads were last waited for.
_opened = False

_CORE_THREADS = frozenset(
    (
        "default-executo",
        "event_engine",
        "grpc_global_tim",
        "grpc_shutdown",
        "lifeguard",
        "resolver-execut",
        "timer_manager",
    )
)
# They end within 0.1 s; after a connection that failed within its timers' 5 s, or 20 %
# more; but those of a channel of somebody else's do not.
_MOST_SECONDS = 10.0


class _AttentionStub:
    """What protoc would make of AttentionService, for requests as bytes and answers
    whose elements stay in them."""

    def __init__(self, channel: Any) -> None:
        service = "/attention.v1.AttentionService"
        self.Forward: Any = channel.unary_unary(
            f"{service}/Forward", response_deserializer=_wire.parse_answer
        )
        self.ForwardStream: Any = channel.stream_stream(
            f"{service}/ForwardStream",
            response_deserializer=_wire.parse_stream_answer,
        )


class Stubs:
    """A channel and what is called over it.

    Attributes:
        lost: whether a fork has closed the channel.
    """

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.attention: Any = _AttentionStub(channel)
        self.modules: Any = module_service_pb2_grpc.ModuleServiceStub(channel)
        self.lost = False


Method = Callable[[Stubs], Any]
"""Begins a call over one of the stubs."""


def forked() -> errors.CallCancelledError:
    """The error of a call that a fork has ended."""
    return errors.CallCancelledError(
        grpc.StatusCode.CANCELLED,
        "the process forked during the call, which may or may not have been done",
    )


def is_fork(stubs: Stubs, call: Any) -> bool:
    """Whether it was a fork, and not the task's user, that cancelled a call."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)  # Python 3.11.
    if cancelling is not None and cancelling():
        return False
    return stubs.lost and bool(call.cancelled())


async def _acquire() -> None:
    """Take the lock, in a loop whose calls a fork under way may wait for."""
    while not _lock.acquire(blocking=False):
        await asyncio.sleep(0.001)


def _open(connection: Any, kind: Any) -> Stubs:
    global _opened
    _opened = True
    _connections.add(connection)
    return Stubs(connection.settings.open(kind))


class Connection:
    """A client's channel. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stubs: Optional[Stubs] = None
        self._closed = False

    def stubs(self) -> Stubs:
        """Those of the open channel. ValueError after close."""
        with _lock:
            if self._closed:
                raise ValueError("the client is closed")
            if self._stubs is None:
                self._stubs = _open(self, grpc)
            return self._stubs

    def begin(self, method: Method) -> Tuple[Stubs, Any]:
        """The call that `method` begins."""
        while True:
            stubs = self.stubs()
            try:
                return stubs, method(stubs)
            except ValueError:  # Closed before the call began.
                if not stubs.lost:
                    raise

    def call(
        self, method: Method, limit: Optional[float], *, repeat: bool = True
    ) -> Any:
        """What `method` returns.

        When a fork has ended the call, it is made again; without `repeat`, for what
        changes the server, CallCancelledError.
        """
        while True:
            stubs = self.stubs()
            try:
                return method(stubs)
            except grpc.RpcError as error:
                if not stubs.lost:
                    raise self.settings.error(error, limit) from error
                if not repeat:
                    raise forked() from error
            except ValueError:  # Closed before the call began.
                if not stubs.lost:
                    raise

    def close(self) -> None:
        """Give up what is in flight, for good."""
        with _lock:
            self._closed = True
            stubs, self._stubs = self._stubs, None
        if stubs is not None:
            stubs.channel.close()

    def lose(self) -> None:
        """Close the channel for a fork."""
        stubs, self._stubs = self._stubs, None
        if stubs is not None:
            stubs.lost = True
            stubs.channel.close()

    def after_fork(self) -> None:
        """In the new process: nothing that `lose` has not done."""


class AsyncConnection:
    """A client's channels: a channel of grpc.aio belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stubs: Dict[asyncio.AbstractEventLoop, Stubs] = {}
        self._calls: Dict[Any, asyncio.AbstractEventLoop] = {}
        self._closed = False

    async def begin(self, method: Method) -> Tuple[Stubs, Any]:
        """The call that `method` begins, known until it is forgotten.

        ValueError after close.
        """
        loop = asyncio.get_running_loop()
        await _acquire()
        try:
            stubs = self._stubs_of(loop)
            call = method(stubs)
            self._calls[call] = loop
        finally:
            _lock.release()
        return stubs, call

    def forget(self, call: Any) -> None:
        """What is to be done when a call has ended."""
        self._calls.pop(call, None)

    async def call(
        self, method: Method, limit: Optional[float], *, repeat: bool = True
    ) -> Any:
        """The answer of the call that `method` begins; see `Connection.call`."""
        while True:
            stubs, call = await self.begin(method)
            try:
                return await call
            except grpc.RpcError as error:
                if not stubs.lost:
                    cause = error.with_traceback(None)  # Which would hold the call.
                    raise self.settings.error(error, limit) from cause
                if not repeat:
                    raise forked() from error.with_traceback(None)
            except asyncio.CancelledError as error:
                if not is_fork(stubs, call):
                    raise
                if not repeat:
                    raise forked() from error.with_traceback(None)
            finally:
                self.forget(call)
                del call  # A fork waits until the last call over a channel is gone.

    async def close(self) -> None:
        """Give up what is in flight, for good."""
        await _acquire()
        try:
            self._closed = True
            known, self._stubs = self._stubs, {}
        finally:
            _lock.release()
        stubs = known.pop(asyncio.get_running_loop(), None)
        if stubs is not None:
            await stubs.channel.close()

    def lose(self) -> None:
        """Close the channels for a fork."""
        known, self._stubs = self._stubs, {}
        for stubs in known.values():
            stubs.lost = True
            # Closing could only be awaited; dropped, a channel is closed at once.
            del stubs.channel, stubs.attention, stubs.modules
        for call, loop in list(self._calls.items()):
            if loop is _running_loop():
                call.cancel()
            else:
                with contextlib.suppress(RuntimeError):  # The loop is closed.
                    loop.call_soon_threadsafe(call.cancel)

    def after_fork(self) -> None:
        """In the new process: the loops of other threads are not there."""
        self._calls = {}

    def _stubs_of(self, loop: asyncio.AbstractEventLoop) -> Stubs:
        if self._closed:
            raise ValueError("the client is closed")
        if loop not in self._stubs:
            for other in [known for known in self._stubs if known.is_closed()]:
                del self._stubs[other]  # Dropped, a channel is closed.
            self._stubs[loop] = _open(self, grpc.aio)
        return self._stubs[loop]


def _running_loop() -> Optional[asyncio.AbstractEventLoop]:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _before_fork() -> None:
    _lock.acquire()
    with contextlib.ExitStack() as stack:  # Does all, whatever one of them raises.
        stack.callback(_wait_for_core)  # The last one.
        for connection in list(_connections):
            stack.callback(connection.lose)


def _after_fork() -> None:
    _lock.release()


def _after_fork_in_child() -> None:
    for connection in list(_connections):
        connection.after_fork()
    _after_fork()


def _wait_for_core() -> None:
    """Until gRPC's threads have ended, with which a fork is not safe."""
    global _opened
    if not _opened:
        return
    _opened = False
    give_up = time.monotonic() + _MOST_SECONDS
    while not _CORE_THREADS.isdisjoint(_thread_names()):
        if time.monotonic() > give_up:
            warnings.warn(
                f"gRPC's threads have not ended within {_MOST_SECONDS:g} s, and the "
                "process forks beside them, which may hang: close other channels of "
                "gRPC before a fork",
                RuntimeWarning,
                stacklevel=5,  # Whoever forks.
            )
            return
        time.sleep(0.001)


def _thread_names() -> Set[str]:
    """Names of this process's threads, where Linux tells them."""
    names = set()
    for comm in pathlib.Path("/proc/self/task").glob("*/comm"):
        try:
            names.add(comm.read_text().strip())
        except OSError:  # Has just ended.
            pass
    return names


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork,
        after_in_child=_after_fork_in_child,
    )
