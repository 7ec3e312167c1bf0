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


def elements(array: Array) -> memoryview:
    """Elements in row-major order, little-endian, without padding: the array's own
    memory where it has them so."""
    if is_torch(array):
        tensor: Any = array
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        return memoryview(flat.view(_torch().uint8).numpy())
    values = np.ascontiguousarray(array)
    if values.dtype.isnative != (sys.byteorder == "little"):
        values = values.astype(values.dtype.newbyteorder("<"))
    return memoryview(values.reshape(-1).view(np.uint8))


def to_bytes(array: Array) -> bytes:
    """A copy of the elements."""
    return bytes(elements(array))


def to_type(array: Array) -> tensor_pb2.Tensor:
    """A Tensor message without elements; TypeError for other dtypes and other
    objects."""
    if not is_array(array):
        raise TypeError(
            f"{type(array).__name__}: expected a numpy.ndarray or a torch.Tensor"
        )
    number: Any = _NUMBERS[dtype_name(array)]
    return tensor_pb2.Tensor(dtype=number, shape=array.shape)


def from_elements(
    kind: tensor_pb2.Tensor, received: Union[bytes, memoryview], like: Array
) -> Array:
    """An array of the kind, and on the device, of `like`; it can be written to.

    `kind` says dtype and shape. The elements may go on to lie where they were
    received, so nobody else may have them.
    """
    name, shape = name_of_number(kind.dtype), tuple(kind.shape)
    if is_torch(like):
        torch, device = _torch(), like.device
        dtype = getattr(torch, name)
        if math.prod(shape) == 0:
            return torch.empty(shape, dtype=dtype, device=device)
        memory = _writable(received, dtype.itemsize)
        return torch.frombuffer(memory, dtype=dtype).reshape(shape).to(device)
    numpy_dtype = _numpy_dtype(name)
    memory = _writable(received, numpy_dtype.itemsize)
    return memory.view(numpy_dtype).reshape(shape)


# Of less, a copy costs less than the care to take of them.
_LEAST_SHARED = 1 << 12


class _Received:
    """Received bytes as memory to be written to, for np.asarray to take."""

    def __init__(self, received: memoryview, address: int) -> None:
        self._received = received
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (received.nbytes,),
            "data": (address, False),
        }


def _writable(
    received: Union[bytes, memoryview], itemsize: int
) -> npt.NDArray[np.uint8]:
    """Bytes that nobody else has, as memory for elements of a size: where they are,
    which keeps all that was received; or a copy where they do not lie at a multiple
    of that, or are less than half of what would be kept."""
    array = np.frombuffer(received, np.uint8)
    address = array.__array_interface__["data"][0]
    kept = memoryview(memoryview(received).obj).nbytes
    if array.nbytes < max(_LEAST_SHARED, (kept + 1) // 2) or address % itemsize:
        return array.copy()
    return np.asarray(_Received(memoryview(received), address))


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
