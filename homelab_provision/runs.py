"""The record of a run: its directory, its append-only journal, and the lock on what it works on.

runs/20261123T070000Z-db-wyse-4f1c/
    request.json    what was asked for           plan.json     what preflight decided
    journal.jsonl   every event, one a line      ansible/      ansible-runner's artifacts
    verify/         test results                 console.log   what the machine said
    report.html     the same, for a person
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from homelab_provision import paths
from homelab_provision.errors import Locked, UsageError
from homelab_provision.events import EVENT, Event, Outcome, PhaseFinished, PhaseStarted, Progress


class Request(BaseModel):
    """What the user asked for; it stays the same when the run is resumed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    site: Path
    host: str
    onto: str | None = None
    way: str | None = None
    keep_data: bool = False
    accept_unproven_backup: bool = False
    erase: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    directory: Path
    request: Request

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def plan_file(self) -> Path:
        return self.directory / "plan.json"

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"

    @property
    def report(self) -> Path:
        return self.directory / "report.html"

    def folder(self, name: str) -> Path:
        return paths.private(self.directory / name)

    def write(self, name: str, text: str) -> Path:
        """Write a file of this run (mode 0600), complete or not at all."""
        target = self.directory / name
        draft = target.with_name(target.name + ".new")
        draft.touch(mode=0o600)
        draft.write_text(text)
        draft.replace(target)
        return target

    def append(self, event: Event) -> None:
        """Add an event to the journal. Progress is for the eye only and is not kept."""
        if isinstance(event, Progress):
            return
        line = EVENT.dump_json(event) + b"\n"
        handle = os.open(self.directory / "journal.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line)
            if isinstance(event, PhaseStarted | PhaseFinished):
                os.fsync(handle)  # what resume relies on must survive a power cut of the controller
        finally:
            os.close(handle)

    def events(self) -> list[Event]:
        """The journal, as far as it could be written: a torn last line of a killed run is left out."""
        journal = self.directory / "journal.jsonl"
        if not journal.exists():
            return []
        events = []
        for line in journal.read_bytes().split(b"\n"):
            try:
                events.append(EVENT.validate_json(line))
            except ValidationError:
                continue
        return events

    def proven(self) -> dict[str, PhaseFinished]:
        """The phases whose last attempt ended well, with their proofs, in the order of the run.

        A phase that begins again takes with it what came after it: that was built on its earlier result.
        """
        proven: dict[str, PhaseFinished] = {}
        for event in self.events():
            if isinstance(event, PhaseStarted) and event.phase in proven:
                names = list(proven)
                for name in names[names.index(event.phase) :]:
                    del proven[name]
            elif isinstance(event, PhaseFinished) and event.result is not Outcome.FAILED:
                proven[event.phase] = event
        return proven


def start(request: Request) -> Run:
    """Make the directory of a new run and point `latest` at it."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    directory = paths.private(paths.runs() / f"{stamp}-{request.host}-{secrets.token_hex(2)}")
    run = Run(directory, request)
    run.write("request.json", request.model_dump_json(indent=2) + "\n")
    draft = paths.runs() / f".latest-{secrets.token_hex(4)}"
    draft.symlink_to(directory.name)
    draft.replace(paths.runs() / "latest")
    return run


def load(name: str) -> Run:
    """The run of this id (`latest`: the newest; a unique beginning is enough)."""
    known = {run.id: run for run in history()}
    if name == "latest":
        if known:
            return known[max(known)]
        raise UsageError("there are no runs yet", hint="a run is recorded by `provision rebuild HOST`")
    matches = [run for run_id, run in known.items() if run_id.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    problem = "fits several runs" if matches else "is not a run"
    raise UsageError(f"`{name}` {problem}", hint="`provision runs list` shows them")


def history() -> list[Run]:
    """All recorded runs, oldest first."""
    found = []
    for directory in sorted(paths.runs().iterdir()):
        request = directory / "request.json"
        if directory.is_symlink() or not request.exists():
            continue
        try:
            found.append(Run(directory, Request.model_validate_json(request.read_bytes())))
        except ValidationError:
            continue  # written by another version; its files can still be read by hand
    return found


def last_of(host: str, site: Path) -> Run:
    """The newest rebuild of a host of this site, to be resumed."""
    mine = [
        run for run in history() if (run.request.command, run.request.host, run.request.site) == ("rebuild", host, site)
    ]
    if not mine:
        raise UsageError(f"there is no rebuild of `{host}` to resume", hint=f"start one: provision rebuild {host}")
    return mine[-1]


@contextmanager
def locked(names: Sequence[str], run_id: str) -> Iterator[None]:
    """Hold the locks on `names` (hosts, machines) or say who does.

    The lock is the kernel's (`flock`), so it goes with its holder, however that ends; the file's text
    only says who it is.
    """
    handles: list[int] = []
    try:
        for name in sorted(names):
            path = paths.locks() / f"{name}.lock"
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            handles.append(handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _held(name, path) from None
            holder = {"run": run_id, "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        for handle in handles:
            os.close(handle)


def _held(name: str, path: Path) -> Locked:
    try:
        holder = json.loads(path.read_text())
        who = f"run {holder['run']} (pid {holder['pid']}, since {holder['since']})"
    except (OSError, ValueError, KeyError):
        who = "another run"
    return Locked(f"`{name}` is held by {who}", hint="wait for it to end, or stop that process")
