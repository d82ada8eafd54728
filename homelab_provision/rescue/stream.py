"""The image on its way onto the disk: unpacked, written as it comes, and read back right behind that.

Runs in the rescue system beside `writer.py`; standard library only.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import queue
import subprocess
import threading
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

MIB = 1024 * 1024


class GiveUp(Exception):
    """The plan cannot be carried out; the message goes to the controller."""


def written(
    handle: int, extents: list[dict[str, Any]], starts: dict[str, int], payload: BinaryIO
) -> Iterator[tuple[dict[str, Any], int, mmap.mmap]]:
    """Write the extents as they come out of the payload; yields each with the bytes written so far."""
    buffer = mmap.mmap(-1, max(extent["length"] for extent in extents))
    done = 0
    with subprocess.Popen(
        ["zstd", "--decompress", "--stdout", "--quiet"], stdin=payload, stdout=subprocess.PIPE, bufsize=0
    ) as unpacker:
        assert unpacker.stdout is not None
        for extent in extents:
            window = memoryview(buffer)[: extent["length"]]
            fill(unpacker.stdout, window)
            position, offset = starts[extent["partition"]] + extent["offset"], 0
            while offset < len(window):
                offset += os.pwrite(handle, window[offset:], position + offset)
            done += extent["length"]
            yield extent, done, buffer
        if unpacker.stdout.read(1):
            raise GiveUp("the image is longer than its manifest says")
    if unpacker.returncode != 0:
        raise GiveUp("the image does not unpack: it was damaged on its way or in the cache")


def fill(stream: Any, window: memoryview) -> None:
    """Read exactly as much as fits."""
    have = 0
    while have < len(window):
        count = stream.readinto(window[have:])
        if not count:
            raise GiveUp("the image ended early: the connection broke, or its file is damaged")
        have += count


class Verifier:
    """Reads back what was written, right behind the writer, and compares digests. A second thread: hashing and
    reading both leave the interpreter alone, so the second processor does them."""

    def __init__(self, handle: int, algorithm: str) -> None:
        self.queue: queue.SimpleQueue[tuple[dict[str, Any], int] | None] = queue.SimpleQueue()
        self.problem: str | None = None
        self._handle, self._algorithm = handle, algorithm
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Verifier:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.queue.put(None)
        if kind is None:
            self._thread.join()
            if self.problem:
                raise GiveUp(self.problem)

    def _work(self) -> None:
        buffer = None
        while (item := self.queue.get()) is not None:
            extent, position = item
            if buffer is None or len(buffer) < extent["length"]:
                buffer = mmap.mmap(-1, max(extent["length"], 4 * MIB))
            window = memoryview(buffer)[: extent["length"]]
            try:
                count = os.preadv(self._handle, [window], position)
            except OSError as error:
                self.problem = f"cannot read back at byte {position}: {error.strerror}"
                return
            found = digest(self._algorithm, window[:count])
            if found != extent["digest"]:
                self.problem = (
                    f"what the disk returns is not the image: {extent['partition']} at {extent['offset']}, "
                    f"{extent['length']} bytes: {found} instead of {extent['digest']}"
                )
                return


def digest(algorithm: str, data: memoryview) -> str:
    """The digest of an extent. `crc32` finds every burst of up to 32 bits; the payload's SHA-256 was checked on the
    controller and the connection is authenticated, so accidents are all that is left to find here."""
    if algorithm == "crc32":
        return f"{zlib.crc32(data):08x}"
    return hashlib.new(algorithm, data).hexdigest()
