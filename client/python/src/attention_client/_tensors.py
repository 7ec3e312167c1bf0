# SPDX-License-Identifier: Apache-2.0
"""Arrays of NumPy and PyTorch to and from Tensor messages.

Neither PyTorch nor ml_dtypes is imported here unless the caller has: an array of
theirs cannot exist before.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Dict, Union

import numpy as np
import numpy.typing as npt

from ._generated import tensor_pb2

if TYPE_CHECKING:
    import torch

Array = Union["npt.NDArray[Any]", "torch.Tensor"]
"""What calls take and return: numpy.ndarray or torch.Tensor."""

# NumPy has no bfloat16 of its own; ml_dtypes registers one of this name.
_NUMBERS: Dict[str, int] = {
    "float32": tensor_pb2.DATA_TYPE_FLOAT32,
    "float64": tensor_pb2.DATA_TYPE_FLOAT64,
    "float16": tensor_pb2.DATA_TYPE_FLOAT16,
    "bfloat16": tensor_pb2.DATA_TYPE_BFLOAT16,
    "bool": tensor_pb2.DATA_TYPE_BOOL,
    "int32": tensor_pb2.DATA_TYPE_INT32,
    "int64": tensor_pb2.DATA_TYPE_INT64,
}
_NAMES = {number: name for name, number in _NUMBERS.items()}


def dtype_name(array: Array) -> str:
    """Name of the elements' dtype; TypeError where the service has no such."""
    name = element_name(array)
    if name not in _NUMBERS:
        raise TypeError(f"dtype {name}: expected one of {', '.join(_NUMBERS)}")
    return name


def element_name(array: Array) -> str:
    """Name of the elements' dtype, whether or not the service has it."""
    if is_torch(array):
        return str(array.dtype).replace("torch.", "")
    return str(np.asarray(array).dtype.name)


def name_of_number(number: int) -> str:
    """Name of a DataType; "" for unspecified."""
    return _NAMES.get(number, "")


def is_torch(array: object) -> bool:
    """Whether this is a torch.Tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def is_array(array: object) -> bool:
    """Whether this is an array that calls take."""
    return isinstance(array, (np.ndarray, np.generic)) or is_torch(array)


def num_bytes(array: object) -> int:
    """Bytes an array's elements take on the wire; 0 for what is not an array."""
    if is_torch(array):
        tensor: Any = array
        return int(tensor.numel() * tensor.element_size())
    return array.nbytes if isinstance(array, (np.ndarray, np.generic)) else 0


def to_bytes(array: Array) -> bytes:
    """Elements in row-major order, little-endian, without padding."""
    if is_torch(array):
        tensor: Any = array
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        return bytes(memoryview(flat.view(_torch().uint8).numpy()))
    values = np.asarray(array)
    if values.dtype.isnative != (sys.byteorder == "little"):
        values = values.astype(values.dtype.newbyteorder("<"))
    return bytes(values.tobytes())


def to_message(array: Array) -> tensor_pb2.Tensor:
    """A Tensor message; TypeError for other dtypes and other objects."""
    if not is_array(array):
        raise TypeError(
            f"{type(array).__name__}: expected a numpy.ndarray or a torch.Tensor"
        )
    number: Any = _NUMBERS[dtype_name(array)]
    return tensor_pb2.Tensor(dtype=number, shape=array.shape, data=to_bytes(array))


def from_message(message: tensor_pb2.Tensor, like: Array) -> Array:
    """An array of the kind, and on the device, of `like`."""
    name, shape = name_of_number(message.dtype), tuple(message.shape)
    if is_torch(like):
        torch, device = _torch(), like.device
        dtype = getattr(torch, name)
        if math.prod(shape) == 0:
            return torch.empty(shape, dtype=dtype, device=device)
        data = bytearray(message.data)
        return torch.frombuffer(data, dtype=dtype).reshape(shape).to(device)
    return np.frombuffer(message.data, _numpy_dtype(name)).reshape(shape).copy()


def to_numpy(values: Any) -> npt.NDArray[Any]:
    """An array, or numbers in lists, as NumPy's; bfloat16 as float32."""
    if is_torch(values):
        tensor = values.detach().cpu()
        wide = tensor.float() if tensor.dtype == _torch().bfloat16 else tensor
        return np.asarray(wide.numpy())
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def concatenate(arrays: Any) -> Array:
    """Arrays, one behind the other."""
    if is_torch(arrays[0]):
        return _torch().cat(list(arrays))
    return np.concatenate(arrays)


def _numpy_dtype(name: str) -> Any:
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "bfloat16 in NumPy needs ml_dtypes: "
                'pip install "attention-client[ml-dtypes]"',
                name="ml_dtypes",
            ) from error
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name).newbyteorder("<")


def _torch() -> Any:
    return sys.modules["torch"]
