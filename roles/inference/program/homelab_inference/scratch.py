"""A server for a moment: as nobody, at a socket that nobody else reaches, ended by its own id."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from .ask import is_healthy
from .process import NOBODY, start_as_nobody

GRACE = 10.0
GPU_GROUPS = ("render", "video")


@dataclass(frozen=True)
class Scratch:
    """`wrong` is why it is not there; empty if it is, and answers at `socket`."""

    socket: Path
    log: Path
    wrong: str

    @property
    def words(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def last_words(self) -> str:
        lines = [line for line in self.words.splitlines() if line.strip()]
        errors = [line for line in lines if " E " in line or "error" in line.lower()]
        return " / ".join((errors or lines)[-2:]) or "it said nothing"


@contextmanager
def served(
    argv: Sequence[object],
    files: Mapping[str, str],
    seconds: float,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Scratch]:
    """Start a server and wait until it answers, or ends. `files` are laid beside it, and named in `argv` as {name}."""
    with tempfile.TemporaryDirectory(prefix="homelab-inference-") as made:
        folder = Path(made)
        folder.chmod(0o711)
        for name, text in files.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o644)
        room = folder / "room"
        room.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(room, NOBODY, NOBODY)
        socket, log = room / "try.sock", folder / "log"
        laid = {f"{{{name}}}": folder / name for name in files}
        words = [laid.get(str(word), str(word)) for word in argv]
        with log.open("wb") as output:
            child = start_as_nobody([*words, "--host", socket], output, GPU_GROUPS, environment)
            try:
                yield Scratch(socket, log, _watched(child, socket, seconds))
            finally:
                _end(child)


def _watched(child: subprocess.Popen[bytes], socket: Path, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while not is_healthy(socket):
        if child.poll() is not None:
            return "does not start"
        if time.monotonic() > deadline:
            return f"has not come up within {seconds:.0f} s"
        time.sleep(0.05)
    return ""


def _end(child: subprocess.Popen[bytes]) -> None:
    """With its session; one that does not listen is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
            return
