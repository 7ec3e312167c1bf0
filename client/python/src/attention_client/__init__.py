# SPDX-License-Identifier: Apache-2.0
"""Client of attention-server: PyTorch's multi-head attention, as a service.

`AttentionClient` and `AsyncAttentionClient` call it with NumPy arrays or PyTorch
tensors; `attention_client.torch` has modules that take the place of
torch.nn.MultiheadAttention and torch.nn.TransformerEncoderLayer;
`attention_client.plot` draws attention weights.
"""

from ._forward import ForwardRequest, ForwardResult, Timing
from ._generated.version import __version__
from ._modules import ModuleConfig, ModuleInfo
from ._stream import StreamAnswer
from .aio import AsyncAttentionClient
from .client import AttentionClient
from .errors import (
    AttentionError,
    CallCancelledError,
    DeadlineExceededError,
    InvalidRequestError,
    ModuleExistsError,
    OverloadedError,
    PreconditionError,
    TooLargeError,
    UnavailableError,
    UnknownModuleError,
)

__all__ = [
    "AsyncAttentionClient",
    "AttentionClient",
    "AttentionError",
    "CallCancelledError",
    "DeadlineExceededError",
    "ForwardRequest",
    "ForwardResult",
    "InvalidRequestError",
    "ModuleConfig",
    "ModuleExistsError",
    "ModuleInfo",
    "OverloadedError",
    "PreconditionError",
    "StreamAnswer",
    "Timing",
    "TooLargeError",
    "UnavailableError",
    "UnknownModuleError",
    "__version__",
]
