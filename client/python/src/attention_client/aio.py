# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio."""

from __future__ import annotations

import asyncio
import itertools
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Dict,
    List,
    Mapping,
    Optional,
    Type,
)

import grpc

from . import _channel, _forward, _modules, errors
from ._channel import DEFAULT, Settings, Timeout
from ._connection import AsyncConnection, forked, is_fork
from ._forward import ForwardRequest, ForwardResult, Input
from ._generated import module_service_pb2
from ._modules import Config, ModuleInfo, Upload
from ._stream import Requests, StreamAnswer, StreamState
from ._tensors import Array

if TYPE_CHECKING:
    from typing_extensions import Unpack


def _has_lost_status(error: Any) -> bool:
    """Whether a message could not be sent: later versions of grpc.aio then forget why
    the server has ended the call."""
    return bool(
        error.code() is grpc.StatusCode.INTERNAL
        and error.details() == "Internal error from Core"
    )


class AsyncModules:
    """`Modules`, with methods to await."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._settings = connection.settings

    async def list(self, *, timeout: Timeout = DEFAULT) -> List[ModuleInfo]:
        """See `Modules.list`."""
        request = module_service_pb2.ListModulesRequest()
        response = await self._call("ListModules", request, timeout)
        return [_modules.to_info(module) for module in response.modules]

    async def get(self, name: str, *, timeout: Timeout = DEFAULT) -> ModuleInfo:
        """See `Modules.get`."""
        request = module_service_pb2.GetModuleRequest(name=name)
        response = await self._call("GetModule", request, timeout)
        return _modules.to_info(response.module)

    async def load(
        self, name: str, *, replace: bool = False, timeout: Timeout = DEFAULT
    ) -> ModuleInfo:
        """See `Modules.load`."""
        request = module_service_pb2.LoadModuleRequest(name=name, replace=replace)
        response = await self._call("LoadModule", request, timeout, repeat=False)
        return _modules.to_info(response.module)

    async def unload(self, name: str, *, timeout: Timeout = DEFAULT) -> None:
        """See `Modules.unload`."""
        request = module_service_pb2.UnloadModuleRequest(name=name)
        await self._call("UnloadModule", request, timeout, repeat=False)

    async def upload(
        self,
        name: str,
        config: Config,
        state_dict: Mapping[str, Array],
        *,
        timeout: Timeout = DEFAULT,
        **options: Unpack[_modules.UploadOptions],
    ) -> ModuleInfo:
        """See `Modules.upload`."""
        upload = Upload(name, config, state_dict, **options)
        limit = self._settings.upload_seconds(upload, timeout)
        # Built here and not inside gRPC, where an error would be lost.
        messages = _modules.to_messages(upload)
        header = next(messages)
        response = await self._connection.call(
            lambda stubs: stubs.modules.UploadModule(
                itertools.chain([header], messages), timeout=limit
            ),
            limit,
            repeat=False,
        )
        return _modules.to_info(response.module)

    async def _call(
        self, method: str, request: Any, timeout: Timeout, *, repeat: bool = True
    ) -> Any:
        limit = self._settings.seconds(timeout)
        return await self._connection.call(
            lambda stubs: getattr(stubs.modules, method)(request, timeout=limit),
            limit,
            repeat=repeat,
        )


class AsyncAttentionClient(_channel.Client):
    """`AttentionClient` for asyncio: the same methods, to await.

        async with AsyncAttentionClient("127.0.0.1:50051") as client:
            result = await client.forward("encoder", x)

    May be made anywhere, and used in any event loop: each has one connection, over
    which any number of tasks call at once. Close it in the loop that uses it.

    A fork ends its streams, with CallCancelledError; the rest is as for
    `AttentionClient`.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: Optional[grpc.ChannelCredentials] = None,
        timeout: Optional[float] = _channel.DEFAULT_TIMEOUT,
        options: _channel.Options = (),
    ) -> None:
        """See `AttentionClient`."""
        self._settings = Settings.checked(target, credentials, timeout, options)
        self._connection = AsyncConnection(self._settings)
        self.modules = AsyncModules(self._connection)

    async def forward(
        self,
        module: str,
        query: Input,
        key: Optional[Input] = None,
        value: Optional[Input] = None,
        *,
        timeout: Timeout = DEFAULT,
        **options: Unpack[_forward.ForwardOptions],
    ) -> ForwardResult:
        """See `AttentionClient.forward`."""
        request = ForwardRequest(module, query, key, value, **options)
        return await self.compute(request, timeout=timeout)

    async def compute(
        self, request: ForwardRequest, *, timeout: Timeout = DEFAULT
    ) -> ForwardResult:
        """`forward`, of a request made before."""
        message = _forward.to_bytes(request)
        limit = self._settings.seconds(timeout)
        response = await self._connection.call(
            lambda stubs: stubs.attention.Forward(message, timeout=limit), limit
        )
        return _forward.to_result(request, response)

    async def forward_stream(
        self, requests: Requests, *, timeout: Optional[float] = None
    ) -> AsyncIterator[StreamAnswer]:
        """See `AttentionClient.forward_stream`; `requests` may be asynchronous."""
        state = StreamState(requests)
        ended = False
        while not ended:
            stubs, call = await self._connection.begin(
                lambda stubs: stubs.attention.ForwardStream(
                    state.async_messages(), timeout=timeout
                )
            )
            try:
                async for response in call:
                    yield state.answer(response)
                    for answer in state.refused():
                        yield answer
                ended = True
            except grpc.RpcError as rpc_error:
                cause = rpc_error.with_traceback(None)  # Which would hold the call.
                if stubs.lost:
                    raise forked() from cause
                error = self._settings.error(rpc_error, timeout)
                if _has_lost_status(rpc_error):
                    error = await self._reason(state, error)
                if not state.learn_limit(error):  # Else what is unanswered goes again.
                    raise error from cause
            except asyncio.CancelledError as cancelled:
                if not is_fork(stubs, call):
                    raise
                raise forked() from cancelled.with_traceback(None)
            finally:
                self._connection.forget(call)
                call.cancel()
                del call  # A fork waits until the last call over a channel is gone.
            for answer in state.refused():
                yield answer
        state.finish()

    async def _reason(
        self, state: StreamState, error: errors.AttentionError
    ) -> errors.AttentionError:
        """Why a stream has ended, as its longest request alone is told."""
        longest = state.longest()
        if longest is not None:
            try:
                await self.compute(longest)
            except errors.AttentionError as told:
                return told
        return error

    async def forward_many(
        self, requests: Requests, *, timeout: Optional[float] = None
    ) -> List[ForwardResult]:
        """See `AttentionClient.forward_many`."""
        answers: Dict[int, StreamAnswer] = {}
        async for answer in self.forward_stream(requests, timeout=timeout):
            answers[answer.index] = answer
        return [answers[index].result() for index in sorted(answers)]

    async def upload(
        self,
        name: str,
        config: Config,
        state_dict: Mapping[str, Array],
        *,
        timeout: Timeout = DEFAULT,
        **options: Unpack[_modules.UploadOptions],
    ) -> ModuleInfo:
        """The same as `modules.upload`."""
        return await self.modules.upload(
            name, config, state_dict, timeout=timeout, **options
        )

    async def close(self) -> None:
        """Give up what is in flight and disconnect."""
        await self._connection.close()

    async def __aenter__(self) -> AsyncAttentionClient:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()
