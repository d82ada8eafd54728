"""Sizes of disks and memory, as people write them.

`GB` is 10⁹ bytes (what is printed on a disk), `GiB` is 2³⁰ (what kernels and memory use); the two are never mixed up.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "pb": 10**15,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "pib": 2**50,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_EXPECTED = "a size such as '256 GB' (decimal), '14.7 GiB' (binary) or a number of bytes"


def parse_size(text: str) -> int:
    """The number of bytes that `text` ("256 GB", "14.7 GiB", "4096") means; fractions of a byte are dropped.

    Raises `ValueError` for anything else, also for "16G", which some programs take for 10⁹ and others for 2³⁰.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not {_EXPECTED}")
    number, unit = match.groups()
    factor = _UNITS.get(unit.lower() or "b")
    if factor is None:
        raise ValueError(f"{text!r} has the unknown unit {unit!r}; expected {_EXPECTED}")
    return int(Decimal(number) * factor)


def format_size(size: int) -> str:
    """`size` bytes for people: binary units where that is exact and short ("256 MiB"), else decimal ("256.1 GB")."""
    for name in ("TiB", "GiB", "MiB", "KiB"):
        if size % _UNITS[name.lower()] == 0 and 0 < size // _UNITS[name.lower()] < 4096:
            return f"{size // _UNITS[name.lower()]} {name}"
    for name in ("TB", "GB", "MB", "kB"):
        if size >= _UNITS[name.lower()]:
            return f"{size / _UNITS[name.lower()]:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} B"


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


ByteCount = Annotated[
    int,
    BeforeValidator(_size),
    Field(gt=0),
    WithJsonSchema(
        {
            "description": _EXPECTED,
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(([KkMGTP]i?)?[Bb])?$"},
            ],
        }
    ),
]
"""A positive number of bytes, in a model; strings with a unit are accepted."""
