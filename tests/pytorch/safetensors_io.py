# SPDX-License-Identifier: Apache-2.0
"""Read and write safetensors files of PyTorch tensors.

Format: https://github.com/huggingface/safetensors#format. Not by the official
library, so that its reading and ours are two.
"""

import json
import math
import struct

import torch

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def tensor_to_bytes(tensor):
    """Elements in row-major order, little-endian."""
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def tensor_from_bytes(data, dtype, shape):
    """The inverse of tensor_to_bytes; the length must fit dtype and shape."""
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes for {dtype} of shape {shape}")
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


def dump_safetensors(tensors, metadata=None):
    """Serialise tensors by name, most strictly aligned dtypes first."""
    header, parts, offset = {}, [], 0
    if metadata:
        header["__metadata__"] = metadata
    for name in sorted(tensors, key=lambda n: (-tensors[n].dtype.itemsize, n)):
        parts.append(tensor_to_bytes(tensors[name]))
        header[name] = {
            "dtype": _NAMES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(parts[-1])],
        }
        offset += len(parts[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def load_safetensors(data):
    """Parse bytes into (tensors by name, metadata); ValueError when malformed."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else len(data)
    if length > len(data) - 8:
        raise ValueError("header longer than the file")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    buffer, offset, tensors = data[8 + length :], 0, {}
    for name, entry in sorted(
        header.items(), key=lambda item: item[1]["data_offsets"]
    ):
        begin, end = entry["data_offsets"]
        if begin != offset or not begin <= end <= len(buffer):
            raise ValueError(f"{name}: offsets {begin}, {end} after {offset}")
        dtype = DTYPES[entry["dtype"]]
        tensors[name] = tensor_from_bytes(buffer[begin:end], dtype, entry["shape"])
        offset = end
    if offset != len(buffer):
        raise ValueError(f"{len(buffer) - offset} bytes behind the last tensor")
    return tensors, metadata
