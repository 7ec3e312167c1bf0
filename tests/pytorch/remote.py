# SPDX-License-Identifier: Apache-2.0
"""The real attention-server as a process, and a small client for it."""

import re
import signal
import subprocess
import threading
import typing

import grpc
import torch
from attention.v1 import (
    attention_service_pb2,
    attention_service_pb2_grpc,
    module_config_pb2,
    module_service_pb2,
    module_service_pb2_grpc,
    tensor_pb2,
)

import safetensors_io

_DEADLINE_SECONDS = 120
_CHUNK_BYTES = 1 << 20
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")

_DTYPES = {
    torch.float32: tensor_pb2.DATA_TYPE_FLOAT32,
    torch.float64: tensor_pb2.DATA_TYPE_FLOAT64,
    torch.float16: tensor_pb2.DATA_TYPE_FLOAT16,
    torch.bfloat16: tensor_pb2.DATA_TYPE_BFLOAT16,
    torch.bool: tensor_pb2.DATA_TYPE_BOOL,
    torch.int32: tensor_pb2.DATA_TYPE_INT32,
    torch.int64: tensor_pb2.DATA_TYPE_INT64,
}
_TORCH_DTYPES = {number: dtype for dtype, number in _DTYPES.items()}


class AttentionServer:
    """Runs the server on a free loopback port while the context lasts."""

    def __init__(self, binary):
        self._command = [binary, "--listen", "127.0.0.1:0"]
        self._log = []

    def __enter__(self):
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.address = self._wait_for_address()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        if code != 0:
            log = "".join(self._log[-50:])
            raise RuntimeError(f"server exited with {code}; its log:\n{log}")

    def _wait_for_address(self):
        for line in self._process.stdout:
            self._log.append(line)
            if found := _LISTENING.search(line):
                return found[1]
        code = self._process.wait()
        log = "".join(self._log)
        raise RuntimeError(f"server exited with {code} at start; its log:\n{log}")

    def _read_log(self):
        self._log.extend(self._process.stdout)


class Answer(typing.NamedTuple):
    """Tensors of a ForwardResponse."""

    output: torch.Tensor
    weights: torch.Tensor | None


class AttentionClient:
    """Calls the server; arguments and answers are PyTorch's."""

    def __init__(self, address):
        unlimited = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
        ]
        self._channel = grpc.insecure_channel(address, options=unlimited)
        self._attention = attention_service_pb2_grpc.AttentionServiceStub(
            self._channel
        )
        self._modules = module_service_pb2_grpc.ModuleServiceStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()

    def upload(self, name, config, tensors):
        """Serve tensors as a module; returns its ModuleInfo."""
        header = module_service_pb2.UploadModuleHeader(
            name=name, config=to_config(config), replace=True
        )
        data = safetensors_io.dump_safetensors(tensors)
        parts = [module_service_pb2.UploadModuleRequest(header=header)]
        for begin in range(0, len(data), _CHUNK_BYTES):
            chunk = data[begin : begin + _CHUNK_BYTES]
            parts.append(module_service_pb2.UploadModuleRequest(data=chunk))
        call = self._modules.UploadModule
        return call(iter(parts), timeout=_DEADLINE_SECONDS).module

    def describe(self, name):
        """The ModuleInfo of a module."""
        request = module_service_pb2.GetModuleRequest(name=name)
        call = self._modules.GetModule
        return call(request, timeout=_DEADLINE_SECONDS).module

    def unload(self, name):
        request = module_service_pb2.UnloadModuleRequest(name=name)
        self._modules.UnloadModule(request, timeout=_DEADLINE_SECONDS)

    def forward(self, name, **fields):
        """Compute; `fields` are those of ForwardRequest, tensors as such."""
        request = to_request(name, **fields)
        response = self._attention.Forward(request, timeout=_DEADLINE_SECONDS)
        return to_answer(response)

    def forward_stream(self, requests):
        """Compute requests by id on one stream; returns responses by id."""
        messages = (
            attention_service_pb2.ForwardStreamRequest(id=id_, request=request)
            for id_, request in requests.items()
        )
        call = self._attention.ForwardStream
        return {m.id: m for m in call(messages, timeout=_DEADLINE_SECONDS)}


def to_config(config):
    """A ModuleConfig from the arguments of torch.nn.MultiheadAttention."""
    fields = dict(config)
    if "dtype" in fields:
        fields["dtype"] = _DTYPES[fields["dtype"]]
    return module_config_pb2.ModuleConfig(
        multi_head_attention=module_config_pb2.MultiHeadAttentionConfig(**fields)
    )


def to_tensor(tensor):
    """A Tensor message."""
    return tensor_pb2.Tensor(
        dtype=_DTYPES[tensor.dtype],
        shape=tensor.shape,
        data=safetensors_io.tensor_to_bytes(tensor),
    )


def from_tensor(message):
    """The inverse of to_tensor."""
    return safetensors_io.tensor_from_bytes(
        message.data, _TORCH_DTYPES[message.dtype], tuple(message.shape)
    )


def to_request(name, **fields):
    """A ForwardRequest; absent (None) fields stay unset."""
    values = {
        key: to_tensor(value) if torch.is_tensor(value) else value
        for key, value in fields.items()
        if value is not None
    }
    return attention_service_pb2.ForwardRequest(module=name, **values)


def to_answer(response):
    """The tensors of a ForwardResponse."""
    has_weights = response.HasField("weights")
    return Answer(
        from_tensor(response.output),
        from_tensor(response.weights) if has_weights else None,
    )
