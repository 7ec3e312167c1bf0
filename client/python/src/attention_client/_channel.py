# SPDX-License-Identifier: Apache-2.0
"""What the clients of both kinds share: how they connect, and how long they wait."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple, Union

from . import _modules, _safetensors

Options = List[Tuple[str, Any]]

# The server's own limit decides how long a message may be; gRPC's default, 4 MiB,
# is 512 rows of 2,048 floats.
OPTIONS: Options = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]

DEFAULT_TIMEOUT = 60.0
"""Seconds after which a call is given up, unless told otherwise."""

# An upload takes as long as its bytes; no network worth using is slower.
_UPLOAD_BYTES_PER_SECOND = 4 << 20


class _Default:
    """The type of DEFAULT."""

    def __repr__(self) -> str:
        return "the client's"


DEFAULT = _Default()
"""Stands for the timeout the client was made with; None is no timeout."""

Timeout = Union[None, float, _Default]


def seconds(timeout: Timeout, default: Optional[float]) -> Optional[float]:
    """A call's timeout as gRPC takes it."""
    return default if isinstance(timeout, _Default) else timeout


def upload_seconds(
    upload: _modules.Upload, timeout: Timeout, default: Optional[float]
) -> Optional[float]:
    """An upload's: the client's is for the answer, the bytes' time comes on top."""
    if not isinstance(timeout, _Default):
        return timeout
    if default is None:
        return None
    sent = _safetensors.size(_modules.sent_tensors(upload))
    return default + sent / _UPLOAD_BYTES_PER_SECOND
