"""The share that holds the backups: is it there, and does it answer? Nothing here can hang."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import Trouble
from .process import run

# Longer than a soft mount needs to notice that its server is gone.
PATIENCE = 90.0
MOUNTS = Path("/proc/self/mountinfo")


def bounded(work: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """The result of `work` (JSON types), done in a child: a file system that is gone can hold only that one.

    Raises `OSError` as `work` does, and `TimeoutError` after `patience` seconds.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(work, writing)
    os.close(writing)
    try:
        output = _read_all(reading, time.monotonic() + patience)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        # One that hangs in the kernel cannot be waited for; init takes it over from us.
        os.waitpid(child, os.WNOHANG)
    found = json.loads(output or '{"errno": 5, "text": "no answer"}')
    if "errno" in found:
        raise OSError(found["errno"], found["text"])
    return found["result"]


def _answer(work: Callable[[], Any], writing: int) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # The lock above all: a child that hangs must not keep it.
    os.closerange(3, writing)
    os.closerange(writing + 1, 1 << 12)
    try:
        found = {"result": work()}
    except OSError as error:
        found = {"errno": error.errno, "text": error.strerror}
    except BaseException as error:
        found = {"errno": 5, "text": repr(error)}
    with suppress(OSError), os.fdopen(writing, "w") as out:
        json.dump(found, out)
    os._exit(0)


def _read_all(reading: int, deadline: float) -> bytes:
    output = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            raise TimeoutError(110, "no answer")
        data = os.read(reading, 1 << 16)
        if not data:
            return output
        output += data


def require(share: Path | None, evidence: str | None = None) -> None:
    """Raise `Trouble` (with this evidence) unless the share is mounted and answers; an automount mounts it for that.
    `None`: there is none, and nothing is wrong."""
    if share is None:
        return
    try:
        bounded(lambda: sum(1 for _ in share.iterdir()))
        lost: OSError | None = None
    except OSError as error:
        lost = error
    source = mounted(MOUNTS.read_text(), share)
    if source and not lost:
        return
    source = source or _configured(share)
    what = f"{source} at {share}" if source else str(share)
    why = f"does not answer ({lost.strerror})" if lost else "is not mounted"
    raise Trouble(
        f"the share with the backups, {what}, {why}",
        f"bring the NAS back (`systemctl status {unit(share)}` tells more), then run the same command again: "
        "what is done already is kept",
        evidence,
    )


def _configured(path: Path) -> str:
    """What systemd would mount there; empty if it knows of nothing."""
    return run(["systemctl", "show", "--property=What", "--value", unit(path)], patience=PATIENCE).out.strip()


def mounted(mountinfo: str, path: Path) -> str | None:
    """What is mounted there (`server:/export`), or None; an automount that waits for somebody does not count."""
    found = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        if _unescape(left.split()[4]) == str(path):
            kind, source = right.split()[:2]
            found = None if kind == "autofs" else _unescape(source)
    return found


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)


def unit(path: Path) -> str:
    """The name of the mount's unit, as systemd-escape --path makes it."""
    plain = "/".join(part for part in path.parts if part != "/")
    escaped = "".join(
        character if character.isalnum() or character in ":_./" else f"\\x{ord(character):02x}" for character in plain
    ).replace("/", "-")
    return f"{escaped}.mount"
