"""What a GGUF file says of itself, read from its first bytes: on a disk, or over HTTP before it is downloaded.

The format is described in ggml-org/ggml, docs/gguf.md. A file may be damaged or made by somebody else: of what it
claims to have, nothing is believed before it is there, nothing large is kept, and no more than `LIMIT` bytes are read.
"""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from homelab_host.errors import Trouble

from .pieces import Pieces, from_file, over_http, shown
from .quantities import MIB, TENSOR_TYPES

# Vocabularies take most of a header: 262,144 tokens with their merges are about 15 MiB.
LIMIT = 96 * MIB
KEPT_TEXT = 4096
KEPT_NUMBERS = 4096
TENSORS = 65536
ENTRIES = 65536
# As ggml has them: GGML_MAX_DIMS, GGML_MAX_NAME (64, larger in builds of others), and no file of more than an exabyte.
DIMENSIONS, NAME, LARGEST = 4, 1024, 2**60

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")

Number = bool | int | float


@dataclass(frozen=True)
class Array:
    """An array of the metadata: how long it is, and its numbers if they are few."""

    count: int
    numbers: tuple[Number, ...] | None = None


Value = Number | str | Array


@dataclass(frozen=True)
class Tensor:
    """One tensor: its shape as ggml counts it (what lies together first), and the bytes that it takes."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    bytes: int


@dataclass(frozen=True)
class Header:
    """What a model consists of. `size` is that of the file (of all of its parts), in bytes, where it is known."""

    where: str
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    size: int | None

    @property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors)


def read(source: str) -> Header:
    """The header of a file, or of a model that is in several, of which `source` is the first. A path, or an address.

    Raises `Trouble` when it cannot be read, or is not one.
    """
    first = _read_one(source)
    parts = first.metadata.get("split.count", 1)
    if not isinstance(parts, int) or parts <= 1:
        return first
    rest = [_read_one(each) for each in _shards(source, parts)[1:]]
    sizes = [part.size for part in (first, *rest)]
    size = None if None in sizes else sum(size for size in sizes if size is not None)
    return replace(first, tensors=sum((part.tensors for part in rest), first.tensors), size=size)


def _shards(source: str, parts: int) -> list[str]:
    found = SHARD.search(source)
    if not found or found[1] != "00001" or int(found[2]) != parts or parts > 999:
        raise Trouble(
            f"{shown(source)}: this is one of {parts} parts of a model, and not named as the first of them",
            f"name the file that ends in -00001-of-{parts:05}.gguf; the others have to lie beside it",
        )
    return [f"{source[: found.start()]}-{number:05}-of-{parts:05}.gguf" for number in range(1, parts + 1)]


def _read_one(source: str) -> Header:
    pieces = over_http(source) if source.lower().startswith(("http:", "https:")) else from_file(Path(source))
    try:
        return parse(pieces, shown(source))
    finally:
        pieces.close()


def parse(pieces: Pieces, where: str) -> Header:
    """The header at the beginning of these bytes. Raises `Trouble`, whatever they are."""
    reader = _Reader(pieces, where)
    _begins(reader)
    version = reader.number("I")
    if version not in (2, 3):
        swapped = " It is in the byte order of other computers." if version & 0xFFFF == 0 else ""
        raise reader.trouble(f"version {version} of GGUF, expected 2 or 3.{swapped}", "have it converted anew")
    tensors, entries = reader.number("Q"), reader.number("Q")
    if tensors > TENSORS or entries > ENTRIES:
        raise reader.trouble(f"it claims {tensors} tensors and {entries} entries, more than any model has")
    metadata = dict(_entry(reader) for _ in range(entries))
    table = [_tensor(reader) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= MIB or alignment & (alignment - 1):
        raise reader.trouble(f"general.alignment is {alignment!r}, expected a power of two")
    start = -(-reader.position // alignment) * alignment
    return Header(where, metadata, tuple(_sized(reader, table, start)), pieces.size)


def _begins(reader: _Reader) -> None:
    magic = reader.take(4)
    if magic == b"GGUF":
        return
    if magic[:1] in (b"<", b"{"):
        what = "a web page or an answer in words, not a model; is the address right, and may you have it?"
    elif magic == b"vers":
        what = "a pointer of Git LFS, not the model itself; take the address that downloads the file"
    elif magic in (b"ggml", b"ggjt", b"lmgg", b"tjgg"):
        what = "a model in the format before GGUF; take one that was converted after August 2023"
    else:
        what = f"not a GGUF file: it begins with {magic!r}"
    raise Trouble(f"{reader.where}: {what}", "expected is a file in the format GGUF, which begins with these letters")


class _Reader:
    """Bytes in their order, never more than there are."""

    def __init__(self, pieces: Pieces, where: str) -> None:
        self.where = where
        self.size = pieces.size
        self.position = 0
        self._pieces = iter(pieces)
        self._piece = b""
        self._at = 0

    def trouble(self, what: str, hint: str = "") -> Trouble:
        hint = (
            hint or "the file is damaged: compare its SHA-256 and its size with what is published, and fetch it again"
        )
        return Trouble(f"{self.where}: {what} (at byte {self.position})", hint)

    def _room(self, count: int) -> None:
        """Raise unless so many bytes may still come; before any of them is asked for."""
        if self.size is not None and self.position + count > self.size:
            raise self.trouble(f"{count} bytes should follow, and the file ends after {self.size}")
        if self.position + count > LIMIT:
            raise self.trouble(f"its header claims to be larger than {LIMIT // MIB} MiB")

    def take(self, count: int) -> bytes:
        self._room(count)
        parts = []
        missing = count
        while missing:
            part = self._piece[self._at : self._at + missing]
            if not part:
                self._next()
                continue
            parts.append(part)
            self._at += len(part)
            missing -= len(part)
        self.position += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, count: int) -> None:
        self._room(count)
        missing = count
        while missing > len(self._piece) - self._at:
            missing -= len(self._piece) - self._at
            self._next()
        self._at += missing
        self.position += count

    def _next(self) -> None:
        self._at = 0
        self._piece = next(self._pieces, b"")
        if not self._piece:
            raise self.trouble("the file is cut off: its header does not end")

    def number(self, code: str) -> int:
        number: int = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]
        return number

    def text(self, most: int) -> str:
        length = self.number("Q")
        if length > most:
            raise self.trouble(f"a name of {length} bytes, expected at most {most}")
        return self.take(length).decode(errors="replace")


def _entry(reader: _Reader) -> tuple[str, Value]:
    key = reader.text(65535)
    return key, _value(reader, key, reader.number("I"))


def _value(reader: _Reader, key: str, kind: int) -> Value:
    if kind in SCALARS:
        return _scalars(reader, kind, 1)[0]
    if kind == STRING:
        length = reader.number("Q")
        text = reader.take(min(length, KEPT_TEXT)).decode(errors="replace")
        reader.skip(max(0, length - KEPT_TEXT))
        return text
    if kind == ARRAY:
        return _array(reader, key, nested=0)
    raise reader.trouble(f"{key!r} has a value of type {kind}, which there is none of")


def _scalars(reader: _Reader, kind: int, count: int) -> tuple[Number, ...]:
    code = f"<{count}{SCALARS[kind]}"
    return struct.unpack(code, reader.take(struct.calcsize(code)))


def _array(reader: _Reader, key: str, nested: int) -> Array:
    kind, count = reader.number("I"), reader.number("Q")
    if kind in SCALARS:
        if count <= KEPT_NUMBERS:
            return Array(count, _scalars(reader, kind, count))
        reader.skip(count * struct.calcsize(f"<{SCALARS[kind]}"))
    elif kind == STRING:
        reader._room(count * 8)
        for _ in range(count):
            reader.skip(reader.number("Q"))
    elif kind == ARRAY and nested < 2:
        reader._room(count * 12)
        for _ in range(count):
            _array(reader, key, nested + 1)
    else:
        raise reader.trouble(f"{key!r} is an array of type {kind}, which there is none of")
    return Array(count)


def _tensor(reader: _Reader) -> tuple[str, int, tuple[int, ...], int]:
    name = reader.text(NAME)
    dimensions = reader.number("I")
    if not 1 <= dimensions <= DIMENSIONS:
        raise reader.trouble(f"tensor {name!r} has {dimensions} dimensions, expected 1 to {DIMENSIONS}")
    shape = tuple(reader.number("Q") for _ in range(dimensions))
    kind, offset = reader.number("I"), reader.number("Q")
    if 0 in shape or math.prod(shape) > LARGEST or offset > LARGEST:
        raise reader.trouble(f"tensor {name!r} has the shape {shape} and lies at {offset}, which no tensor does")
    return name, kind, shape, offset


def _sized(reader: _Reader, table: list[tuple[str, int, tuple[int, ...], int]], start: int) -> Iterator[Tensor]:
    """The tensors with their bytes; of a type that is newer than this program, up to where the next one begins."""
    ends = sorted({offset for *_, offset in table})
    following = dict(itertools.pairwise(ends))
    for name, kind, shape, offset in table:
        called, weights, size = TENSOR_TYPES.get(kind, (f"type {kind}", 0, 0))
        if weights and shape[0] % weights:
            raise reader.trouble(f"tensor {name!r} of {called} has rows of {shape[0]}, no multiple of {weights}")
        if weights:
            length = math.prod(shape) // weights * size
        elif (end := following.get(offset, reader.size and reader.size - start)) is not None:
            length = end - offset
        else:
            raise reader.trouble(f"tensor {name!r} is of {called}, whose size nobody has told this program")
        if reader.size is not None and start + offset + length > reader.size:
            raise reader.trouble(
                f"tensor {name!r} ends at byte {start + offset + length}, and the file after {reader.size}",
                "the file is cut off, as after an interrupted download: fetch the rest of it",
            )
        yield Tensor(name, called, shape, offset, length)
