# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Type,
)

import grpc
import grpc.aio

from . import _channel, _forward, _modules, errors
from ._channel import DEFAULT, Timeout
from ._forward import ForwardRequest, ForwardResult, Input
from ._generated import (
    attention_service_pb2_grpc,
    module_service_pb2,
    module_service_pb2_grpc,
)
from ._modules import Config, ModuleInfo, Upload
from ._stream import Requests, StreamAnswer, StreamState
from ._tensors import Array

if TYPE_CHECKING:
    from typing_extensions import Unpack


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise errors.from_rpc(error) from error


class AsyncModules:
    """`Modules`, with methods to await."""

    def __init__(self, channel: grpc.aio.Channel, timeout: Optional[float]) -> None:
        self._stub: Any = module_service_pb2_grpc.ModuleServiceStub(channel)
        self._timeout = timeout

    async def list(self, *, timeout: Timeout = DEFAULT) -> List[ModuleInfo]:
        """See `Modules.list`."""
        request = module_service_pb2.ListModulesRequest()
        response = await self._call(self._stub.ListModules, request, timeout)
        return [_modules.to_info(module) for module in response.modules]

    async def get(self, name: str, *, timeout: Timeout = DEFAULT) -> ModuleInfo:
        """See `Modules.get`."""
        request = module_service_pb2.GetModuleRequest(name=name)
        response = await self._call(self._stub.GetModule, request, timeout)
        return _modules.to_info(response.module)

    async def load(
        self, name: str, *, replace: bool = False, timeout: Timeout = DEFAULT
    ) -> ModuleInfo:
        """See `Modules.load`."""
        request = module_service_pb2.LoadModuleRequest(name=name, replace=replace)
        response = await self._call(self._stub.LoadModule, request, timeout)
        return _modules.to_info(response.module)

    async def unload(self, name: str, *, timeout: Timeout = DEFAULT) -> None:
        """See `Modules.unload`."""
        request = module_service_pb2.UnloadModuleRequest(name=name)
        await self._call(self._stub.UnloadModule, request, timeout)

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
        limit = _channel.upload_seconds(upload, timeout, self._timeout)
        messages = _modules.to_messages(upload)
        with _translated():
            response = await self._stub.UploadModule(messages, timeout=limit)
        return _modules.to_info(response.module)

    async def _call(self, method: Any, request: Any, timeout: Timeout) -> Any:
        limit = _channel.seconds(timeout, self._timeout)
        with _translated():
            return await method(request, timeout=limit)


class AsyncAttentionClient:
    """`AttentionClient` for asyncio: the same methods, to await.

        async with AsyncAttentionClient("127.0.0.1:50051") as client:
            result = await client.forward("encoder", x)

    Belongs to the event loop it is first used in. Any number of tasks may call at
    once over its one connection.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: Optional[grpc.ChannelCredentials] = None,
        timeout: Optional[float] = _channel.DEFAULT_TIMEOUT,
    ) -> None:
        """See `AttentionClient`."""
        options = _channel.OPTIONS
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=options)
        else:
            self._channel = grpc.aio.secure_channel(
                target, credentials, options=options
            )
        self._stub: Any = attention_service_pb2_grpc.AttentionServiceStub(self._channel)
        self._timeout = timeout
        self.target = target
        self.modules = AsyncModules(self._channel, timeout)

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
        message = _forward.to_message(request)
        limit = _channel.seconds(timeout, self._timeout)
        with _translated():
            response = await self._stub.Forward(message, timeout=limit)
        return _forward.to_result(request, response)

    async def forward_stream(
        self, requests: Requests, *, timeout: Optional[float] = None
    ) -> AsyncIterator[StreamAnswer]:
        """See `AttentionClient.forward_stream`; `requests` may be asynchronous."""
        state = StreamState(requests)
        with _translated():
            call = self._stub.ForwardStream(state.async_messages(), timeout=timeout)
            try:
                async for response in call:
                    yield state.answer(response)
            finally:
                call.cancel()
        state.finish()

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
        await self._channel.close()

    async def __aenter__(self) -> AsyncAttentionClient:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()
