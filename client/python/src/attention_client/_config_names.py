# SPDX-License-Identifier: Apache-2.0
"""Names and types in the JSON of a message, checked with the .proto's own words.

protobuf's parser tells of a wrong one as well, but not which there are.
"""

from __future__ import annotations

import numbers
from typing import Any, Mapping

import numpy as np

from . import _nearest

_KINDS = {
    "CPPTYPE_BOOL": ("true or false", bool),
    "CPPTYPE_DOUBLE": ("a number", numbers.Real),
    "CPPTYPE_INT64": ("an integer", numbers.Integral),
}


def check(where: str, given: object, message: Any) -> None:
    """TypeError or ValueError where `given` is not the JSON of a message.

    Args:
        where: what `given` is called in an error's text.
        message: descriptor of the message.
    """
    if not isinstance(given, Mapping):
        got = type(given).__name__
        raise TypeError(f"{where}: expected a dict, got {got} {given!r:.80}")
    fields = {field.name: field for field in message.fields}
    for name, value in given.items():
        field = fields.get(name) or message.fields_by_camelcase_name.get(name)
        if field is None:
            raise ValueError(
                f"{where}: no field {name!r}, "
                f"expected one of {', '.join(fields)}"
                f"{_nearest.hint(name, fields)}"
            )
        if value is not None:
            _check_value(f"{where}.{name}", value, field)


def _check_value(where: str, value: object, field: Any) -> None:
    if field.message_type is not None:
        check(where, value, field.message_type)
    elif field.enum_type is not None:
        names = field.enum_type.values_by_name
        numbers_known = field.enum_type.values_by_number
        if value not in (names if isinstance(value, str) else numbers_known):
            raise ValueError(
                f"{where}: expected one of {', '.join(names)}, got {value!r}"
                f"{_nearest.hint(value, names)}"
            )
    else:
        _check_scalar(where, value, field)


def _check_scalar(where: str, value: object, field: Any) -> None:
    for kind, (expected, types) in _KINDS.items():
        if getattr(field, kind) == field.cpp_type and not _is_a(types, value):
            raise TypeError(f"{where}: expected {expected}, got {value!r}")


def _is_a(types: Any, value: object) -> bool:
    if types is bool or isinstance(value, (bool, np.bool_)):
        return types is bool and isinstance(value, bool)
    try:  # JSON may have numbers as strings, and integers with a point.
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return False
    integral = isinstance(number, float) and number.is_integer()
    return isinstance(number, types) or (types is numbers.Integral and integral)
