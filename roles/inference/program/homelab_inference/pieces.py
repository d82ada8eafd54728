"""The bytes of a file from its beginning, from a disk or over HTTP, and no more of them than are asked for."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path

from homelab_host.errors import Trouble

from .quantities import MIB

PIECE = 2 * MIB
SECONDS = 30.0  # for one answer to begin
DEADLINE = 300.0  # for all of it: a server may send a byte now and then


class Pieces:
    """Bytes to come, and how many there are in all, where that is known. To be closed."""

    def __init__(self, size: int | None, pieces: Generator[bytes]) -> None:
        self.size = size
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._pieces.close()


def from_bytes(content: bytes) -> Pieces:
    """What is in memory already."""
    return Pieces(len(content), (content[at : at + PIECE] for at in range(0, len(content), PIECE)))


def from_file(path: Path) -> Pieces:
    """Raises `Trouble` when it cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise Trouble(
            f"{path}: cannot be read: {error.strerror}", "is it the right path, and may you read it?"
        ) from None
    return Pieces(size, _of_file(path))


def _of_file(path: Path) -> Generator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def shown(source: str) -> str:
    """A path or an address as it may be shown: what may be a secret in it is left away."""
    if not source.lower().startswith(("http:", "https:")):
        return source
    parts = urllib.parse.urlsplit(source)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def over_http(url: str) -> Pieces:
    """By requests for ranges; from a server that knows none, as much of the whole as is taken. Raises `Trouble`."""
    until = time.monotonic() + DEADLINE
    answer = _ask(url, 0)
    if answer.status == 206:
        return Pieces(_total(url, answer, 0), _ranges(url, answer, until))
    length = answer.headers.get("Content-Length", "")
    return Pieces(int(length) if length.isdecimal() else None, _body(url, answer, until))


def _ask(url: str, start: int) -> http.client.HTTPResponse:
    wanted = {"Range": f"bytes={start}-{start + PIECE - 1}", "Accept-Encoding": "identity"}
    hint = "is the address right, is its server reached from here, and does it want you to log in?"
    try:
        request = urllib.request.Request(url, headers=wanted)
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise Trouble(f"{shown(url)}: the server answers {error.code} ({error.reason})", hint) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Trouble(f"{shown(url)}: {getattr(error, 'reason', None) or error}", hint) from None
    return answer


def _total(url: str, answer: http.client.HTTPResponse, start: int) -> int | None:
    told = answer.headers.get("Content-Range", "")
    found = re.fullmatch(rf"bytes {start}-\d+/(\d+|\*)", told.strip())
    if not found:
        raise Trouble(
            f"{shown(url)}: asked for the bytes from {start}, the server sent {told or 'it does not say which'}",
            "its answers to requests for ranges are wrong: download the file and name its path",
        )
    return int(found[1]) if found[1].isdecimal() else None


def _ranges(url: str, answer: http.client.HTTPResponse, until: float) -> Generator[bytes]:
    start = 0
    size = _total(url, answer, 0)
    while True:
        had = 0
        for piece in _body(url, answer, until):
            had += len(piece)
            yield piece
        start += had
        if not had or (size is not None and start >= size):
            return
        answer = _ask(url, start)
        if answer.status != 206 or _total(url, answer, start) != size:
            answer.close()
            raise Trouble(f"{shown(url)}: the file was replaced while it was read", "ask again")


def _body(url: str, answer: http.client.HTTPResponse, until: float) -> Generator[bytes]:
    with answer:
        while time.monotonic() < until:
            try:
                piece = answer.read1(PIECE)
            except (OSError, http.client.HTTPException) as error:
                raise Trouble(f"{shown(url)}: the answer broke off: {error}", "ask again") from None
            if not piece:
                return
            yield piece
    raise Trouble(f"{shown(url)}: the beginning of the file took longer than {DEADLINE:.0f} seconds", "ask again")
