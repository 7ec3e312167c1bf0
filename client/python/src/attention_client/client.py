# SPDX-License-Identifier: Apache-2.0
"""The client for ordinary, blocking code."""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Type,
)

import grpc

from . import _channel, _forward, _modules
from ._channel import DEFAULT, Settings, Timeout
from ._connection import Connection
from ._forward import ForwardRequest, ForwardResult, Input
from ._generated import module_service_pb2
from ._modules import Config, ModuleInfo, Upload
from ._stream import StreamAnswer, StreamState
from ._tensors import Array

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Modules:
    """The modules of a server; `AttentionClient.modules`.

    Every method may raise the errors of `attention_client.errors` and takes
    `timeout`, in seconds; None waits for ever, default is the client's.

    Thread-safe.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._settings = connection.settings

    def list(self, *, timeout: Timeout = DEFAULT) -> List[ModuleInfo]:
        """Served modules and those of the server's repository, by name."""
        request = module_service_pb2.ListModulesRequest()
        response = self._call("ListModules", request, timeout)
        return [_modules.to_info(module) for module in response.modules]

    def get(self, name: str, *, timeout: Timeout = DEFAULT) -> ModuleInfo:
        """Describe one module. UnknownModuleError."""
        request = module_service_pb2.GetModuleRequest(name=name)
        response = self._call("GetModule", request, timeout)
        return _modules.to_info(response.module)

    def load(
        self, name: str, *, replace: bool = False, timeout: Timeout = DEFAULT
    ) -> ModuleInfo:
        """Serve a module of the repository.

        UnknownModuleError; ModuleExistsError when served already and not `replace`;
        InvalidRequestError when its files are not valid.
        """
        request = module_service_pb2.LoadModuleRequest(name=name, replace=replace)
        response = self._call("LoadModule", request, timeout, repeat=False)
        return _modules.to_info(response.module)

    def unload(self, name: str, *, timeout: Timeout = DEFAULT) -> None:
        """Stop serving a module. UnknownModuleError when it is not served."""
        request = module_service_pb2.UnloadModuleRequest(name=name)
        self._call("UnloadModule", request, timeout, repeat=False)

    def upload(
        self,
        name: str,
        config: Config,
        state_dict: Mapping[str, Array],
        *,
        timeout: Timeout = DEFAULT,
        **options: Unpack[_modules.UploadOptions],
    ) -> ModuleInfo:
        """Serve a module made of these weights.

        `options` are those of `Upload`: replace, persist, weights_prefix,
        weight_names, transposed, zero_biases, ignored. The weights are sent a piece
        at a time. The default timeout is the client's and a second for every 4 MiB.

        ModuleExistsError when the name is taken and not `replace`;
        InvalidRequestError when weights and configuration do not fit;
        TooLargeError when it is longer than the server takes; OverloadedError when
        the server has no memory for it.
        """
        upload = Upload(name, config, state_dict, **options)
        limit = self._settings.upload_seconds(upload, timeout)
        # Built here and not in gRPC's thread, where an error would be lost.
        messages = _modules.to_messages(upload)
        header = next(messages)
        response = self._connection.call(
            lambda stubs: stubs.modules.UploadModule(
                itertools.chain([header], messages), timeout=limit
            ),
            limit,
            repeat=False,
        )
        return _modules.to_info(response.module)

    def _call(
        self, method: str, request: Any, timeout: Timeout, *, repeat: bool = True
    ) -> Any:
        limit = self._settings.seconds(timeout)
        return self._connection.call(
            lambda stubs: getattr(stubs.modules, method)(request, timeout=limit),
            limit,
            repeat=repeat,
        )


class AttentionClient(_channel.Client):
    """Calls an attention-server.

        with AttentionClient("127.0.0.1:50051") as client:
            result = client.forward("encoder", x, key_padding_mask=padding)

    Thread-safe; one client keeps one connection, over which any number of threads
    call at once, and which is made anew when it is lost. Make one and keep it.
    Copying a module that holds a client shares the client; pickled, it is one of the
    same server, with a connection of its own.

    A fork of the process (os.fork, multiprocessing, a DataLoader's workers) closes
    the connection, and both processes make a new one when they call. What other
    threads wait for meanwhile is sent again; but `load`, `unload` and `upload` raise
    CallCancelledError.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: Optional[grpc.ChannelCredentials] = None,
        timeout: Optional[float] = _channel.DEFAULT_TIMEOUT,
        options: _channel.Options = (),
    ) -> None:
        """Connect, at the first call, to `target`.

        Args:
            target: "host:port", "[IPv6]:port", "unix:PATH" or another name of gRPC's
                with a port. A proxy of the environment (http_proxy and its kin) is
                not used for this machine.
            credentials: of grpc.ssl_channel_credentials and its kin, for servers
                behind TLS; without them the connection is not encrypted.
            timeout: seconds after which a call is given up with
                DeadlineExceededError; None waits for ever. Calls may say otherwise.
            options: gRPC's channel options, which go before the client's own:
                {"grpc.keepalive_time_ms": 10000}.

        Raises:
            TypeError, ValueError: that is not the address of a server.
        """
        self._settings = Settings.checked(target, credentials, timeout, options)
        self._connection = Connection(self._settings)
        self.modules = Modules(self._connection)

    def forward(
        self,
        module: str,
        query: Input,
        key: Optional[Input] = None,
        value: Optional[Input] = None,
        *,
        timeout: Timeout = DEFAULT,
        **options: Unpack[_forward.ForwardOptions],
    ) -> ForwardResult:
        """Compute the forward pass of a served module.

        Shapes and options are those of `ForwardRequest`: attn_mask,
        key_padding_mask, valid_lens, causal, is_causal, need_weights,
        average_attn_weights, masked_row_policy, training, dropout_seed. Arrays are
        NumPy's or PyTorch's, and so is the result; a list of 2-D arrays of
        different lengths is a ragged batch.

        Leave out `key` and `value` where they are the query: it saves their bytes.

        Raises:
            InvalidRequestError: shapes, dtypes or options do not fit the module.
            UnknownModuleError: no module of this name is served.
            OverloadedError, UnavailableError, DeadlineExceededError: the server
                cannot, now.
            TypeError, ValueError: not an array, or a dtype or option that the
                service does not have; nothing was sent.
        """
        return self.compute(
            ForwardRequest(module, query, key, value, **options), timeout=timeout
        )

    def compute(
        self, request: ForwardRequest, *, timeout: Timeout = DEFAULT
    ) -> ForwardResult:
        """`forward`, of a request made before."""
        message = _forward.to_bytes(request)
        limit = self._settings.seconds(timeout)
        response = self._connection.call(
            lambda stubs: stubs.attention.Forward(message, timeout=limit), limit
        )
        return _forward.to_result(request, response)

    def forward_stream(
        self, requests: Iterable[ForwardRequest], *, timeout: Optional[float] = None
    ) -> Iterator[StreamAnswer]:
        """Compute many requests, many of them in flight, on one stream.

        Answers come as they complete, in any order, each with the index of its
        request. A request that fails does so alone, in its own answer. `requests`
        is consumed, in a thread of gRPC, as fast as the server takes them, which is
        while fewer than 64 are unanswered; an exception it raises is raised here,
        after the answers to what came before.

        Raises:
            AttentionError: the stream broke: whatever is unanswered stays so. The
                server ends a connection after 10 minutes: begin a new stream then.
        """
        state = StreamState(requests)
        while True:
            stubs, call = self._connection.begin(
                lambda stubs: stubs.attention.ForwardStream(
                    state.messages(), timeout=timeout
                )
            )
            try:
                for response in call:
                    yield state.answer(response)
                    yield from state.refused()
                break
            except grpc.RpcError as rpc_error:
                error = self._settings.error(rpc_error, timeout)
                # What is unanswered is sent again.
                if not stubs.lost and not state.learn_limit(error):
                    raise error from rpc_error
            finally:
                call.cancel()
            yield from state.refused()
        yield from state.refused()
        state.finish()

    def forward_many(
        self, requests: Iterable[ForwardRequest], *, timeout: Optional[float] = None
    ) -> List[ForwardResult]:
        """`forward_stream`, with the results in the order of the requests.

        Raises the first request's error if any failed.
        """
        answers: Dict[int, StreamAnswer] = {}
        for answer in self.forward_stream(requests, timeout=timeout):
            answers[answer.index] = answer
        return [answers[index].result() for index in sorted(answers)]

    def upload(
        self,
        name: str,
        config: Config,
        state_dict: Mapping[str, Array],
        *,
        timeout: Timeout = DEFAULT,
        **options: Unpack[_modules.UploadOptions],
    ) -> ModuleInfo:
        """The same as `modules.upload`."""
        return self.modules.upload(name, config, state_dict, timeout=timeout, **options)

    def close(self) -> None:
        """Give up what is in flight and disconnect."""
        self._connection.close()

    def __enter__(self) -> AttentionClient:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
