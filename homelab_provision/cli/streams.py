"""Standard output and error as they really are: closed, full, a reader that went away, no UTF-8.

`head` that has seen enough is no error, and what the command does goes on. A full disk behind `>` is one, said once.
What the encoding of a terminal lacks is shown by its number instead of ending the command.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

_NAMES = {1: "standard output", 2: "standard error"}


class _Spout(io.FileIO):
    """Writes to a descriptor until it fails for the first time; after that everything is swallowed."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._dry = False

    def write(self, data: object) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        if self._dry:
            return size
        try:
            return super().write(data) or 0  # type: ignore[arg-type]
        except BrokenPipeError:
            self._dry = True
            return size
        except OSError as error:
            self._dry = True
            raise OSError(error.errno, error.strerror, _NAMES[self.fileno()]) from None


def settle() -> None:
    """Put standard streams in place that survive what is behind them. Tests that capture the streams keep theirs."""
    _open_the_closed()
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a descriptor, for the time of this process
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(1, sys.__stdout__)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(2, sys.__stderr__)


def _open_the_closed(descriptors: Sequence[int] = (0, 1, 2)) -> None:
    """A file opened later must not become standard output. What was closed for writing cannot be written to."""
    for descriptor in descriptors:
        try:
            os.fstat(descriptor)
        except OSError:
            flags = os.O_WRONLY if descriptor == 2 else os.O_RDONLY
            opened = os.open(os.devnull, flags)  # the lowest free number: this one
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


def _stream(descriptor: int, before: io.TextIOBase | object | None) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(_Spout(descriptor)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )
