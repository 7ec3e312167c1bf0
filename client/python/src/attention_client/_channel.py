# SPDX-License-Identifier: Apache-2.0
"""What the clients of both kinds share: how they connect, and how long they wait."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple, Type, Union

import grpc

from . import _modules, _safetensors, _target, errors

Options = Union[Mapping[str, Any], Iterable[Tuple[str, Any]]]
"""gRPC's channel options by name, such as {"grpc.keepalive_time_ms": 10000}."""

# The server's own limit decides how long a message may be; gRPC's default, 4 MiB,
# is 512 rows of 2,048 floats. Clients that shared a connection would share its flow
# control, and after a fork it would be one that the other process uses. A fork waits
# for the timers of a connection that failed (initial, max) or is being made (min), so
# they are shorter than `_connection` waits at most; calls make connections, not time.
_OPTIONS: Mapping[str, Any] = {
    "grpc.max_send_message_length": -1,
    "grpc.max_receive_message_length": -1,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 5000,
    "grpc.max_reconnect_backoff_ms": 5000,
}

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


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a client is made with; TypeError or ValueError for what is none."""

    target: str
    credentials: Optional[grpc.ChannelCredentials]
    timeout: Optional[float]
    options: Mapping[str, Any]

    @classmethod
    def checked(
        cls,
        target: str,
        credentials: Optional[grpc.ChannelCredentials],
        timeout: Optional[float],
        options: Options,
    ) -> Settings:
        """Refuses here what gRPC would refuse, or not, at the first call."""
        _target.check(target)
        named = dict(options)
        for name, value in named.items():
            if not isinstance(name, str) or not isinstance(value, (int, str, bytes)):
                raise TypeError(
                    "options: expected names with integers or strings, got "
                    f"{name!r}: {value!r}"
                )
        return cls(target, credentials, timeout, named)

    def open(self, kind: Any) -> Any:
        """A channel of `kind`, which is grpc or grpc.aio."""
        given: Dict[str, Any] = dict(_OPTIONS)
        if _target.is_local(self.target):
            given["grpc.enable_http_proxy"] = 0  # No proxy finds this machine.
        given.update(self.options)
        options: List[Tuple[str, Any]] = list(given.items())
        if self.credentials is None:
            return kind.insecure_channel(self.target, options=options)
        return kind.secure_channel(self.target, self.credentials, options=options)

    def seconds(self, timeout: Timeout) -> Optional[float]:
        """A call's timeout as gRPC takes it."""
        return self.timeout if isinstance(timeout, _Default) else timeout

    def upload_seconds(
        self, upload: _modules.Upload, timeout: Timeout
    ) -> Optional[float]:
        """An upload's: the client's is for the answer, its bytes' come on top."""
        if not isinstance(timeout, _Default) or self.timeout is None:
            return self.seconds(timeout)
        sent = _safetensors.size(_modules.sent_tensors(upload))
        return self.timeout + sent / _UPLOAD_BYTES_PER_SECOND

    def error(self, error: Any, limit: Optional[float]) -> errors.AttentionError:
        """What to raise for a call, of `limit` seconds, that failed."""
        return errors.from_rpc(error, self.target, limit, self.options)


class Client:
    """What a client is beside its calls: made of settings, copied and pickled."""

    _settings: Settings

    @property
    def target(self) -> str:
        """The address it calls."""
        return self._settings.target

    def __reduce__(self) -> Any:
        settings = self._settings
        if settings.credentials is not None:
            raise TypeError(
                f"{self!r} has credentials, which cannot be pickled: make a client "
                "with them in the process that needs one"
            )
        named = {"timeout": settings.timeout, "options": dict(settings.options)}
        return _make, (type(self), settings.target, named)

    def __copy__(self) -> Client:
        return self

    def __deepcopy__(self, memo: Dict[int, Any]) -> Client:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"


def _make(kind: Type[Any], target: str, named: Dict[str, Any]) -> Any:
    return kind(target, **named)
