"""What restic says, understood: of versions 0.14 to 0.18, which put some of it into JSON and some into words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from homelab_host import disk_space

# Exit codes, since 0.17 (restic's manual, "Scripting"); before that all were 1, so the words are looked at as well.
INCOMPLETE, NO_REPOSITORY, WRONG_KEY = 3, 10, 12
NOT_THERE = re.compile(r"does not exist|no such file|NoSuchKey|404", re.IGNORECASE)
DAMAGED = re.compile(
    r"ciphertext verification|does not match|hash mismatch|invalid data|is not referenced|not found in (?:the )?index"
    r"|pack .* (?:is|does|contains|not)|size could not be determined|unexpected (?:EOF|pack)"
    r"|repository contains errors",
    re.IGNORECASE,
)


class NotUnderstood(ValueError):
    """restic has said something else than it does."""


@dataclass(frozen=True)
class Summary:
    """What one `restic backup` has copied: regular files, each link counted, and their bytes."""

    snapshot: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Snapshot:
    """`original`: of a copy, the snapshot that it is one of."""

    id: str
    time: str
    tags: tuple[str, ...]
    original: str | None

    def tag(self, name: str) -> str | None:
        """The value of the tag NAME=value."""
        return next((tag.partition("=")[2] for tag in self.tags if tag.startswith(f"{name}=")), None)

    @property
    def label(self) -> str | None:
        return self.tag("label")


def lines(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects among the lines."""
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def progress(line: str) -> tuple[int, int] | None:
    """Bytes done and in all, from a line of status of a backup or a restore."""
    for found in lines(line):
        if found.get("message_type") == "status" and found.get("total_bytes"):
            return int(found.get("bytes_done", found.get("bytes_restored", 0))), int(found["total_bytes"])
    return None


def parse_summary(text: str) -> Summary:
    for found in lines(text):
        if found.get("message_type") == "summary" and found.get("snapshot_id"):
            return Summary(found["snapshot_id"], found["total_files_processed"], found["total_bytes_processed"])
    raise NotUnderstood("restic made a backup without a summary")


def parse_snapshots(text: str) -> list[Snapshot]:
    """All snapshots, oldest first; an empty repository says `null` or `[]`."""
    try:
        found = [
            Snapshot(each["id"], each["time"], tuple(each.get("tags") or ()), each.get("original"))
            for each in json.loads(text) or []
        ]
    except (ValueError, TypeError, LookupError) as error:
        raise NotUnderstood(f"no list of snapshots: {error!r}") from None
    return sorted(found, key=lambda snapshot: snapshot.time)


def is_missing(status: int, text: str) -> bool:
    """Whether there is no repository, as told from one that could not be looked at."""
    return status == NO_REPOSITORY or ("Is there a repository" in text and bool(NOT_THERE.search(text)))


def complaint(text: str) -> str:
    """The words for a person: messages out of JSON lines, other lines as they are, what repeats itself only once."""
    said: list[str] = []
    for line in text.splitlines():
        found = next(lines(line), None)
        if found is None:
            words = line.strip()
        elif found.get("message_type") == "error":
            words = f"{found.get('item') or ''}: {(found.get('error') or {}).get('message', '')}".strip(": ")
        else:
            words = str(found.get("message") or "").strip() if found.get("message_type") == "exit_error" else ""
        # It tries again and again before it gives up, with the same words but for the time.
        if words and " returned error, retrying after " not in words and words not in said:
            said.append(words)
    return "\n".join(said[-12:])


def hint(status: int, text: str) -> str | None:
    """What to do about the failures that can be foreseen."""
    if status == WRONG_KEY or "wrong password or no key found" in text:
        return "the repository was made with another key: bring that one back into the site's vault, and apply the host"
    if disk_space.FULL.lower() in text.lower() or "quota exceeded" in text:
        return "make room on the file system that is named below, then run the same command again"
    if "already locked" in text:
        return "another restic is at work on this repository; wait for it, then run the same command again"
    if DAMAGED.search(text):
        return "files of the repository are missing or damaged: look at the NAS and its disks, try an older --label"
    return None
