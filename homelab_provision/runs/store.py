"""The record of a run: its directory, its append-only journal, and the lock on what it works on.

runs/0042-20261123T070000Z-db-wyse/
    request.json    what was asked for           plan.json     what preflight decided
    journal.jsonl   every event, one a line      ansible/      ansible-runner's artifacts
    verify/         test results                 console.log   what the machine said
    report.html     the same, for a person

Runs are numbered in the order in which they began; what a clock says is for people. A run exists once it holds the
lock on its host: an attempt that was locked out, or named something that is not there, leaves none.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from homelab_provision import files, paths
from homelab_provision.errors import UsageError
from homelab_provision.events import (
    EVENT,
    Event,
    Outcome,
    PhaseFinished,
    PhaseStarted,
    Progress,
    RunFinished,
    RunResult,
)

FIRST_PHASE = "preflight"  # decides, and touches nothing
LONGEST_LABEL = 60  # characters of the hosts' names in the name of a directory
Model = TypeVar("Model", bound=BaseModel)


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
    confirm_code: bool = False


class _Object(RootModel[dict[str, Any]]):
    """Any JSON object."""


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
        files.replace(target, text.encode())
        return target

    def append(self, event: Event) -> None:
        """Add an event to the journal. Progress is for the eye only and is not kept."""
        if isinstance(event, Progress):
            return
        line = EVENT.dump_json(event) + b"\n"
        journal = self.directory / "journal.jsonl"
        handle = files.open_regular(journal, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            with files.naming(journal):
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    line = b"\n" + line  # the last one is torn, and must not take this one with it
                if os.write(handle, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if isinstance(event, PhaseStarted | PhaseFinished):
                    os.fsync(handle)  # what resume relies on must survive a power cut of the controller
        finally:
            os.close(handle)

    def events(self) -> list[Event]:
        """The journal, as far as it could be written: a torn last line of a killed run is left out.

        Raises `Damaged` if it cannot be read at all.
        """
        journal = self.directory / "journal.jsonl"
        try:
            lines = files.read_bytes(journal).split(b"\n") if files.exists(journal) else []
        except OSError as error:
            raise Damaged(self.id, f"{journal.name}: {error.strerror}") from None
        events = []
        for line in lines:
            with suppress(ValidationError):
                events.append(EVENT.validate_json(line))
        return events

    def has(self, name: str) -> bool:
        return files.exists(self.directory / name)

    def read(self, name: str, model: type[Model]) -> Model | None:
        """A file of this run, `None` if there is none. Raises `Damaged`."""
        return _read(self.directory / name, model)

    def need(self, name: str, model: type[Model]) -> Model:
        """A file that an earlier phase of this run has written. Raises `Damaged`, also if there is none."""
        if (found := self.read(name, model)) is None:
            raise Damaged(self.id, f"{name} is missing")
        return found

    def need_object(self, name: str) -> dict[str, Any]:
        """The same for one of which only parts are wanted."""
        return self.need(name, _Object).root

    def touched(self) -> bool:
        """Whether it came further than deciding what to do."""
        return any(isinstance(event, PhaseStarted) and event.phase != FIRST_PHASE for event in self.events())

    def is_proven(self) -> bool:
        ends = [event for event in self.events() if isinstance(event, RunFinished)]
        return bool(ends) and ends[-1].result is RunResult.PROVEN

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


class Damaged(UsageError):
    """Files of a run cannot be read; `reason` says which and why. Its other files are still there to be looked at."""

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(
            f"run {run_id} is damaged: {reason}",
            hint=f"it cannot go on; what is left of it lies in {paths.runs() / run_id}",
        )
        self.id, self.reason = run_id, reason


def start(request: Request) -> Run:
    """Make the directory of a new run and point `latest` at it. Only for whoever holds the lock on its host."""
    store = paths.private(paths.runs())
    draft = paths.private(store / f".new-{secrets.token_hex(4)}")
    try:
        Run(draft, request).write("request.json", request.model_dump_json(indent=2) + "\n")
        # Two runs that begin at the same moment get two numbers.
        with files.exclusive(paths.private(paths.locks()) / "runs.lock"):
            number = max((_number(directory.name) for directory in store.iterdir()), default=0) + 1
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            directory = store / f"{number:04}-{stamp}-{_label(request.host)}"
            draft.rename(directory)
            with suppress(OSError):  # a convenience for people; somebody may have put something else there
                link = store / f".latest-{secrets.token_hex(4)}"
                link.symlink_to(directory.name)
                link.replace(store / "latest")
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Run(directory, request)


def load(name: str) -> Run:
    """The run of this id (`latest`: the newest; a unique beginning is enough). Raises `Damaged` for a broken one."""
    known = {run.id: run for run in everything()}
    if name == "latest":
        if known:
            return _sound(list(known.values())[-1])
        raise UsageError("there are no runs yet", hint="a run is recorded by `provision rebuild HOST`")
    matches = [run for run_id, run in known.items() if run_id.startswith(name)] if name else []
    if len(matches) == 1 or name in known:
        return _sound(known.get(name) or matches[0])
    problem = "fits several runs" if matches else "is not a run"
    raise UsageError(f"`{name}` {problem}", hint="`provision runs list` shows them")


def everything() -> list[Run | Damaged]:
    """All recorded runs in the order in which they began, also those that cannot be read: one must not hide others."""
    if not files.exists(paths.runs()):
        return []
    found: list[Run | Damaged] = []
    for directory in sorted(paths.runs().iterdir(), key=lambda one: (_number(one.name), one.name)):
        if directory.name.startswith(".") or directory.is_symlink() or not directory.is_dir():
            continue
        try:
            request = _read(directory / "request.json", Request)
            found.append(Run(directory, request) if request else Damaged(directory.name, "request.json is missing"))
        except Damaged as damaged:
            found.append(damaged)
    return found


def last_of(host: str, site: Path) -> Run:
    """The rebuild of a host of this site that began last, to be resumed.

    Raises `UsageError` where that is not clear: an attempt that stopped before it touched anything must not stand for
    an earlier one that did and was never ended, with other options perhaps.
    """
    found = everything()
    mine = [run for run in found if isinstance(run, Run) and _is_of(run, host, site)]
    if not mine:
        raise UsageError(f"there is no rebuild of `{host}` to resume", hint=f"start one: provision rebuild {host}")
    last = mine[-1]
    later = found[found.index(last) :]
    if broken := [run for run in later if isinstance(run, Damaged) and run.id.endswith(f"-{_label(host)}")]:
        raise UsageError(
            f"the last run of `{host}` may be {broken[-1].id}, which is damaged: {broken[-1].reason}",
            hint=f"name the one to go on with: --resume {last.id}",
        )
    open_ = [run for run in mine[:-1] if run.touched()][-1:] if not last.touched() else []
    if open_ and not open_[0].is_proven():
        raise UsageError(
            f"two rebuilds of `{host}` could go on: {open_[0].id}, which was stopped half-way, and {last.id}, which "
            "stopped before it touched anything",
            hint=f"name the one to go on with: --resume {open_[0].id}",
        )
    return last


def named(name: str, host: str, site: Path) -> Run:
    """The rebuild `name` of a host of this site, to be resumed."""
    run = load(name)
    if not _is_of(run, host, site):
        raise UsageError(
            f"run {run.id} is no rebuild of `{host}` of {site}: it is {run.request.command} {run.request.host} of "
            f"{run.request.site}",
            hint="`provision runs list` shows them",
        )
    return run


def _number(name: str) -> int:
    """The number in a run's name; 0 for those of older versions, whose names begin with the time."""
    found = re.match(r"(\d{1,12})-", name)
    return int(found[1]) if found else 0


def _label(host: str) -> str:
    """What a directory's name says of the hosts of a run, which may be many."""
    return re.sub(r"[^A-Za-z0-9.+-]", "_", host)[:LONGEST_LABEL]


def _sound(run: Run | Damaged) -> Run:
    if isinstance(run, Damaged):
        raise run
    return run


def _is_of(run: Run, host: str, site: Path) -> bool:
    return (run.request.command, run.request.host, run.request.site) == ("rebuild", host, site)


def _read(path: Path, model: type[Model]) -> Model | None:
    """A JSON file of a run. Raises `Damaged`, which says what is wrong with it."""
    try:
        return model.model_validate_json(files.read_bytes(path)) if files.exists(path) else None
    except OSError as error:
        raise Damaged(path.parent.name, f"{path.name}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        if first["type"] == "extra_forbidden":
            what = f"`{where}` is not known here; another version wrote it"
        raise Damaged(path.parent.name, f"{path.name}: {what}") from None
