"""Where a file comes from, read from any place in it: a server that knows `Range`, or a path on this host."""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Protocol

from homelab_host.errors import Trouble

SECONDS = 60.0
# What a server may say better later; everything else is its last word.
PASSING = (408, 425, 429, 500, 502, 503, 504)


class Interrupted(Exception):
    """It broke off, and may go on when asked again."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Opened:
    """`start` is where `stream` really begins; `validator` is how the source calls these very bytes, if it does."""

    stream: Readable
    start: int
    total: int | None
    validator: str


@contextmanager
def opened(source: str, start: int, validator: str) -> Iterator[Opened]:
    """Open a source at `start`, or at 0 if it changed since it gave its `validator`. Raises Interrupted or Trouble."""
    try:
        with _path(Path(source), start) if source.startswith("/") else _url(source, start, validator) as found:
            yield found
    except urllib.error.HTTPError as error:
        raise _refused(source, error.code) from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"{getattr(error, 'reason', None) or error or type(error).__name__}") from None


@contextmanager
def _path(path: Path, start: int) -> Iterator[Opened]:
    try:
        file = path.open("rb")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise Trouble(f"{path}: {error.strerror}", "is the share mounted that has it? See `findmnt`") from None
    with file:
        found = os.fstat(file.fileno())
        told = f"{found.st_size}-{found.st_mtime_ns}"
        file.seek(start)
        yield Opened(file, start, found.st_size, told)


@contextmanager
def _url(url: str, start: int, validator: str) -> Iterator[Opened]:
    asked = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if start and validator:
        asked.add_header("Range", f"bytes={start}-")
        asked.add_header("If-Range", validator)
    with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
        begins, total = _extent(answer.status, answer.headers)
        if begins not in (0, start):
            raise Interrupted(f"the server went on at byte {begins}, and not at {start}")
        yield Opened(answer, begins, total, _validator(answer.headers))


def _extent(status: int, headers: Message) -> tuple[int, int | None]:
    """Where an answer begins, and how large the whole is."""
    if status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        if not found:
            raise Interrupted(f"the server speaks of {headers.get('Content-Range')!r} as a part")
        return int(found[1]), int(found[2])
    length = headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _validator(headers: Message) -> str:
    """What `If-Range` takes: a strong ETag, else a date."""
    tag = str(headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(headers.get("Last-Modified", ""))


def _refused(source: str, status: int) -> Trouble | Interrupted:
    if status in PASSING:
        return Interrupted(f"the server answers {status}")
    if status == 416:
        return Interrupted("the server has less than what is here")
    hint = "is the address right, and does it need no key?" if status in (401, 403, 404, 410) else ""
    return Trouble(f"{source.partition('?')[0]}: the server answers {status}", hint)
