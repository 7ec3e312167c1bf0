# SPDX-License-Identifier: Apache-2.0
"""Descriptions and configurations of modules."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Optional, Sequence
from typing import Union

from google.protobuf import json_format

from . import _config_names, _safetensors, _tensors
from ._generated import module_config_pb2, module_service_pb2
from ._tensors import Array

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    class UploadOptions(TypedDict, total=False):
        """The keyword arguments of `upload`: see `Upload`."""

        replace: bool
        persist: bool
        weights_prefix: str
        weight_names: Optional[Mapping[str, str]]
        transposed: bool
        zero_biases: Sequence[str]
        ignored: Sequence[str]


ModuleConfig = module_config_pb2.ModuleConfig
"""The message ModuleConfig, of proto/attention/v1/module_config.proto."""

Config = Union[Mapping[str, Any], module_config_pb2.ModuleConfig]
"""A configuration: the message, or its JSON as a dict with snake_case names, such
as {"multi_head_attention": {"embed_dim": 256, "num_heads": 4}}; with
"compute_dtype": "COMPUTE_DTYPE_BFLOAT16" beside it computed faster."""

# A message of an upload may take 16 MiB.
_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class ModuleInfo:
    """What the server says about a module.

    Attributes:
        name: its name.
        state: "available" (in the repository, not served), "loading", "ready",
            "unloading" or "failed".
        version: rises with every replacement; 0 when not served.
        config: its configuration, as a dict.
        weights_dtype: dtype of the parameters, such as "float32".
        compute_dtype: dtype the forward pass really computes in; a float64 query is
            always computed in float64.
        implementation: what serves it.
        memory_bytes: memory it holds.
        weights_digest: SHA-256 of its parameters.
        error: why the last attempt to load it failed.
    """

    name: str
    state: str
    version: int
    config: Dict[str, Any]
    weights_dtype: str
    compute_dtype: str
    implementation: str
    memory_bytes: int
    weights_digest: str
    error: str


@dataclasses.dataclass(frozen=True)
class Upload:
    """A module to be sent.

    Attributes:
        name: its name, [A-Za-z0-9][A-Za-z0-9._-]{0,127}.
        config: its configuration.
        state_dict: its weights by name, PyTorch's or NumPy's.
        replace: whether a module of this name may be replaced.
        persist: whether the server also writes it to its repository.
        weights_prefix: prefix of the weights' names, such as
            "encoder.layers.0.self_attn."; others are not sent.
        weight_names: what runs of components of the module's own names are called
            in state_dict, {"q_proj": "query", "out_proj": "attn.out"}.
        transposed: whether matrices are stored (in, out).
        zero_biases: biases of the module, by its own names, that state_dict does not
            have and that are zero, ["k_proj.bias"].
        ignored: tensors of state_dict, behind the prefix, that are not the module's:
            whole names or leading runs of whole components, ["masked_bias", "norm1"].
    """

    name: str
    config: Config
    state_dict: Mapping[str, Array]
    replace: bool = False
    persist: bool = False
    weights_prefix: str = ""
    weight_names: Optional[Mapping[str, str]] = None
    transposed: bool = False
    zero_biases: Sequence[str] = ()
    ignored: Sequence[str] = ()


def to_config(config: Config) -> module_config_pb2.ModuleConfig:
    """The message of a configuration; TypeError or ValueError where it is not one."""
    if isinstance(config, module_config_pb2.ModuleConfig):
        return config
    _config_names.check("config", config, module_config_pb2.ModuleConfig.DESCRIPTOR)
    try:
        message = module_config_pb2.ModuleConfig()
        json_format.ParseDict(dict(config), message)
    except json_format.ParseError as error:
        raise ValueError(f"config: {error}") from error
    return message


def to_dict(message: Any) -> Dict[str, Any]:
    """A message's set fields; unlike protobuf's JSON with integers as such."""
    fields: Dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None:
            value = to_dict(value)
        elif field.enum_type is not None:
            value = field.enum_type.values_by_number[value].name
        fields[field.name] = value
    return fields


def to_json(config: Config) -> str:
    """The JSON that is stored with a module."""
    return json.dumps(to_dict(to_config(config)), sort_keys=True)


def to_info(message: module_service_pb2.ModuleInfo) -> ModuleInfo:
    """What a ModuleInfo message says."""
    state = module_service_pb2.ModuleState.Name(message.state)
    return ModuleInfo(
        name=message.name,
        state=state[len("MODULE_STATE_") :].lower(),
        version=message.version,
        config=to_dict(message.config),
        weights_dtype=_tensors.name_of_number(message.weights_dtype),
        compute_dtype=_tensors.name_of_number(message.compute_dtype),
        implementation=message.implementation,
        memory_bytes=message.memory_bytes,
        weights_digest=message.weights_digest,
        error=message.error,
    )


def sent_tensors(upload: Upload) -> Dict[str, Array]:
    """The part of state_dict behind the prefix."""
    return {
        name: tensor
        for name, tensor in upload.state_dict.items()
        if name.startswith(upload.weights_prefix)
    }


def to_messages(upload: Upload) -> Iterator[module_service_pb2.UploadModuleRequest]:
    """The messages of an upload: its header, then the bytes of a file."""
    header = module_service_pb2.UploadModuleHeader(
        name=upload.name,
        config=to_config(upload.config),
        replace=upload.replace,
        persist=upload.persist,
        weights_prefix=upload.weights_prefix,
    )
    names = module_config_pb2.WeightNames(
        renamed=upload.weight_names or {},
        transposed=upload.transposed,
        zero_biases=upload.zero_biases,
        ignored=upload.ignored,
    )
    if names.ListFields():
        header.weight_names.CopyFrom(names)
    yield module_service_pb2.UploadModuleRequest(header=header)
    parts = _safetensors.pieces(sent_tensors(upload))
    for data in _safetensors.chunks(parts, _CHUNK_BYTES):
        yield module_service_pb2.UploadModuleRequest(data=data)


def content_name(kind: str, config: Config, state_dict: Mapping[str, Array]) -> str:
    """A name that is a function of the content: `kind` and a hash.

    Whoever uploads the same module by this name shares it.
    """
    digest = hashlib.sha256(to_json(config).encode())
    for piece in _safetensors.pieces(state_dict):
        digest.update(piece)
    return f"{kind}-{digest.hexdigest()[:24]}"
