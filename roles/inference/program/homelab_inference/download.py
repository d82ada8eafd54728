"""One file: brought in as many pieces as the network likes, taken only if every byte is the right one."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from homelab_host import report, synced
from homelab_host.disk_space import shown
from homelab_host.errors import Trouble

from .config import File
from .sources import Interrupted, Opened, opened

PIECE = 1 << 20
# How often in a row nothing comes before it is given up, and how long is waited in between, in seconds.
TRIES = 6
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True)
class Beginning:
    """What a part was begun from: where another source, or other bytes there, would be another file."""

    source: str
    validator: str


def part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def refused_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.refused")


def have(target: Path, file: File) -> int:
    """Bytes that are here already of a file that is not complete."""
    part = part_of(target)
    size = part.stat().st_size if part.exists() else 0
    return size if file.size is None or size <= file.size else 0


def download(file: File, target: Path, pause: Callable[[float], None] = time.sleep) -> None:
    """Bring a file to `target`. Raises Trouble, and leaves what has come for the next time unless it was wrong."""
    part, notes, refused = part_of(target), target.with_name(f".{target.name}.json"), refused_of(target)
    if refused.exists() and _begun(notes, file.source) is not None:
        if digest(refused, target.name) != file.sha256:
            raise _wrong(file, refused, "as it was the last time; what had come")
        refused.replace(part)  # it was the digest that was wrong, and has been mended
    else:
        refused.unlink(missing_ok=True)
        _bring(file, part, notes, pause)
    found = digest(part, target.name)
    if found != file.sha256:
        part.replace(refused)
        raise _wrong(file, refused, f"but {found}; what came")
    part.chmod(0o644)
    part.replace(target)
    notes.unlink(missing_ok=True)


def _wrong(file: File, refused: Path, said: str) -> Trouble:
    return Trouble(
        f"{_shown(file.source)} has not the SHA-256 {file.sha256}, {said} lies in {refused}",
        "if the source is right, mend `sha256`: what has come is then taken. Else remove that file, and try again",
    )


def _bring(file: File, part: Path, notes: Path, pause: Callable[[float], None]) -> None:
    failed = 0
    while True:
        before = have(part.with_name(part.name[1 : -len(".part")]), file)
        try:
            if before and before == file.size:
                return
            with opened(file.source, before, _begun(notes, file.source) or "") as source:
                _append(file, source, part, notes)
            return
        except Interrupted as interrupted:
            came = part.stat().st_size if part.exists() else 0
            failed = 0 if came > before else failed + 1
            if failed >= TRIES:
                raise Trouble(
                    f"{_shown(file.source)} broke off {failed} times, the last time: {interrupted}",
                    f"run the same again: {shown(came)} are here, and it goes on after them",
                ) from None
            report.notice(f"{file.name}: {interrupted}; asked again at {shown(came)}")
            if "less than what is here" in str(interrupted):
                part.unlink(missing_ok=True)
            pause(PAUSES[min(failed, len(PAUSES) - 1)])


def _append(file: File, source: Opened, part: Path, notes: Path) -> None:
    if file.size is not None and source.total not in (None, file.size):
        raise Trouble(
            f"{_shown(file.source)} is {source.total} bytes large, and not {file.size} as declared",
            "nothing of it was brought: mend `size` and `sha256`, or the source",
        )
    total = file.size if file.size is not None else source.total
    synced.write(notes, json.dumps(asdict(Beginning(file.source, source.validator))), 0o600)
    with part.open("r+b" if source.start else "wb") as written:
        at = written.seek(source.start)
        while piece := source.stream.read(PIECE):
            written.write(piece)
            at += len(piece)
            if total is not None and at > total:
                written.truncate(0)
                raise Interrupted(f"more came than the {total} bytes that were announced")
            report.progress(file.name, at, total or at, "bytes")
        written.flush()
        os.fsync(written.fileno())
    if total is not None and at < total:
        raise Interrupted(f"the connection ended after {at} of {total} bytes")


def _begun(notes: Path, source: str) -> str | None:
    """How this source called what has come so far, which may be nothing; none if it came from another one."""
    try:
        found = Beginning(**json.loads(notes.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found.validator if found.source == source else None


def digest(path: Path, name: str) -> str:
    """The SHA-256 of a file, which takes a while for a large one."""
    total, at, found = path.stat().st_size, 0, hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
            at += len(piece)
            report.progress(f"verify {name}", at, total, "bytes")
    return found.hexdigest()


def _shown(source: str) -> str:
    """A source without what may be a key in it."""
    return source.partition("?")[0]
