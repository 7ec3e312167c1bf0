# SPDX-License-Identifier: Apache-2.0
"""A small client of the server, apart from the one in client/python."""

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

import attention_server
import safetensors_io

AttentionServer = attention_server.AttentionServer

_DEADLINE_SECONDS = 120
_CHUNK_BYTES = 1 << 20

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

    def upload(self, name, config, tensors, **header):
        """Serve tensors as a module; returns its ModuleInfo. `header` are more
        fields of UploadModuleHeader; `config` may be a ModuleConfig."""
        if not isinstance(config, module_config_pb2.ModuleConfig):
            config = to_config(config)
        header = module_service_pb2.UploadModuleHeader(
            name=name, config=config, replace=True, **header
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


def to_config(config, kind="multi_head_attention"):
    """A ModuleConfig of a kind from its fields, by default from the arguments
    of torch.nn.MultiheadAttention; dtypes are PyTorch's."""
    return module_config_pb2.ModuleConfig(**{kind: _to_fields(config)})


def _to_fields(config):
    fields = {}
    for name, value in config.items():
        if isinstance(value, torch.dtype):
            value = _DTYPES[value]
        elif isinstance(value, dict):
            value = _to_fields(value)
        fields[name] = value
    return fields


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
