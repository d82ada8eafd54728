"""Bring the stacks of this host to what the site wants: each by itself, so that one that fails costs no other.

What they need is fetched first, side by side, while the old ones run. Then what is removed or changed, one after the
other. What is new starts after it, side by side, as all of them do when the host boots: on a rebuilt host that is
everything. There it starts when its data are back, and not before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Semaphore, Thread
from typing import Any, NoReturn

from homelab_host import records, report, synced
from homelab_host.errors import Trouble
from homelab_host.process import run

from . import database_copy, engine, stack, venv
from .compose import OVERRIDE
from .database import furnished
from .desired import Desired, parse
from .project import Project, make, systemctl
from .values import DATA, PROJECTS, Wrong, get, object_of

# Stacks whose images and packages are fetched at the same time.
AT_ONCE = 3
HOME = Path("/etc/homelab-provision")
CONFIGURATION, KEY = HOME / "stacks.json", HOME / "stacks-backup-key"
CREDENTIALS, CERTIFICATE = HOME / "stacks-second.env", HOME / "stacks-second.crt"


@dataclass
class Outcome:
    """What was done about a stack, or would be; and why it is not as the site wants it."""

    actions: list[str] = field(default_factory=list)
    failed: str | None = None
    hint: str | None = None
    evidence: str | None = None
    waits: str | None = None

    @property
    def well(self) -> bool:
        return self.failed is None and self.waits is None


def apply(document: object, check: bool) -> dict[str, object]:
    """Do it, or with `check` only say what would be done. Raises `Trouble` for a document that makes no sense."""
    try:
        top = object_of(document, "the whole")
        projects = object_of(top.get("projects"), "projects")
        servers = object_of(top.get("servers") or {}, "servers")
        authority = str(top.get("authority") or "")
        stacks = [furnished(each, servers, authority) for each in get(top, "stacks", list, "")]
        desired = [parse(each, projects) for each in stacks]
        if (second := object_of(top.get("second") or {}, "second")) and not second.get("repository"):
            raise Wrong("the second repository is not named: `repository` is missing")
    except Wrong as wrong:
        raise Trouble(f"what the role wants makes no sense: {wrong}", "mend it in the site") from None
    outcomes = _all([*_left(desired), *desired], check, bool(top.get("await_restore")))
    written = _write(top, check)
    changed = written or any(outcome.actions for outcome in outcomes.values())
    return {"changed": changed, "stacks": {name: vars(outcome) for name, outcome in outcomes.items()}}


def _left(desired: Sequence[Desired]) -> list[Desired]:
    """Stacks that are on the host and not in the list any more: they stop, and their data stay."""
    there = {path.name.partition(".")[0] for path in PROJECTS.glob("*/")}
    gone = sorted(there - {each.name for each in desired})
    return [Desired(name) for name in gone]


def _all(desired: Sequence[Desired], check: bool, await_restore: bool) -> dict[str, Outcome]:
    outcomes = {each.name: Outcome() for each in desired}
    starting: list[stack.Running] = []
    for each in desired:
        with _told(each.name, outcomes[each.name]):
            _recover(each, outcomes[each.name], check)
    _side_by_side([each for each in desired if outcomes[each.name].well], outcomes, check)
    # A new one may want a port that another gives up.
    for each in sorted((each for each in desired if outcomes[each.name].well), key=_is_new):
        with _told(each.name, outcomes[each.name]):
            starting += _one(each, outcomes[each.name], check, await_restore)
    for found in starting:
        with _told(found.name, outcomes[found.name]):
            report.step(f"wait until {found.name} answers")
            _see_started(found)
            found.ask()
    return outcomes


def _side_by_side(desired: Sequence[Desired], outcomes: Mapping[str, Outcome], check: bool) -> None:
    """Make all of them ready. Unpacking an image keeps one core busy, and fetching it none."""
    room, unforeseen = Semaphore(AT_ONCE), list[Exception]()

    def ready(one: Desired) -> None:
        try:
            with room, _told(one.name, outcomes[one.name]):
                _ready(one, check)
        except Exception as error:  # of this program; a thread would lose it
            unforeseen.append(error)

    # A thread that ends takes its programs along: if this program is stopped, nothing is waited for.
    threads = [Thread(target=ready, args=(each,), daemon=True) for each in desired]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in unforeseen:
        raise error


def _is_new(desired: Desired) -> bool:
    return desired.present and Project(desired.name).told("digest") is None


@contextmanager
def _told(name: str, outcome: Outcome) -> Iterator[None]:
    """What goes wrong with a stack is said of it, and stops no other."""
    try:
        yield
    except stack.Waits as waits:
        outcome.waits = waits.message
    except Trouble as trouble:
        outcome.failed, outcome.hint, outcome.evidence = trouble.message, trouble.hint, trouble.evidence
    except OSError as error:
        outcome.failed = f"{name}: {error.filename or 'a file'}: {error.strerror or error}"


def _recover(desired: Desired, outcome: Outcome, check: bool) -> None:
    """Whatever a run that was killed has left: go back, or clear it away."""
    project = Project(desired.name)
    if project.previous.exists():
        outcome.actions.append("went back from a change that was interrupted")
        if not check:
            _go_back(project)
    elif not check:
        project.clear()


def _ready(desired: Desired, check: bool) -> None:
    """All that can be done, and may be wrong, while what runs goes on."""
    project = Project(desired.name)
    if not desired.present or (current := project.told("digest")) == desired.digest:
        return
    if current is not None:
        _refuse_downgrade(desired, project.told("version") or "")
    if check:
        return
    report.step(f"prepare {project.name} {desired.version}")
    running = stack.load(desired.name, {**desired.told, "kind": desired.kind})  # what makes no sense is said before
    try:
        _prepare(project, desired)
        if current is not None:
            running.require()  # nobody could see whether it works
    except Trouble:
        project.clear()
        if current is not None:
            systemctl("start", "--no-block", project.unit)
        raise


def _refuse_downgrade(desired: Desired, before: str) -> None:
    if not desired.downgrade and _older(desired.version, before):
        raise Trouble(
            f"{desired.name} stays at {before}: {desired.version} is older, and may not be able to read its data",
            "if it can, say `downgrade: true`; or restore the data that it had, from a backup of then",
        )


def _one(desired: Desired, outcome: Outcome, check: bool, await_restore: bool) -> list[stack.Running]:
    """Bring one that is ready to its state; returns what was only begun."""
    project = Project(desired.name)
    if not desired.present:
        _absent(project, desired, outcome, check)
    elif (digest := project.told("digest")) is None:
        outcome.actions.append(f"installed {desired.version}")
        if check:
            return []
        project.take()  # it lies there whole, and has not begun to start
        return [] if await_restore else [_begin(project)]
    elif digest != desired.digest:
        _change(project, desired, outcome, check)
    elif not await_restore:
        return _keep_running(project, outcome, check)
    return []


def _absent(project: Project, desired: Desired, outcome: Outcome, check: bool) -> None:
    if not project.home.exists() and not (desired.purge and project.data.exists()):
        return
    outcome.actions.append("removed, with its data" if desired.purge else "removed; its data are kept")
    if check:
        return
    if project.home.exists():
        report.step(f"stop {project.name}")
        systemctl("disable", "--now", project.unit)
        engine.down(project.name)
    project.vanish(desired.purge)


def _keep_running(project: Project, outcome: Outcome, check: bool) -> list[stack.Running]:
    """What is as it should be is left alone; one that was stopped by hand is started; one that fails says so again."""
    found = stack.find(project.name)
    match found.state():
        case stack.FAILS:
            found.require()
            raise Trouble(
                f"{project.name} fails again and again", f"systemctl status {project.unit}", found.last_words()
            )
        case ("active" | "activating" | "reloading", _):
            return []
    outcome.actions.append("started")
    return [] if check else [_begin(project)]


def _begin(project: Project) -> stack.Running:
    """Begin to start one; how that ends is seen when all have begun."""
    report.step(f"start {project.name}")
    systemctl("enable", project.unit)
    systemctl("restart", "--no-block", project.unit)
    return stack.find(project.name)


def _change(project: Project, desired: Desired, outcome: Outcome, check: bool) -> None:
    """The new project takes the old one's place, or, if it does not become healthy, leaves it as it was."""
    before = project.told("version") or ""
    action = "changed" if before == desired.version else f"from {before} to {desired.version}"
    if check:
        outcome.actions.append(action)
        return
    new = stack.load(desired.name, {**desired.told, "kind": desired.kind})
    try:
        report.step(f"stop {project.name}")
        _stop(project)
        if before != desired.version:
            report.step(f"keep a copy of the data of {project.name}")
            project.keep_data()
            database_copy.keep(project)
    except Trouble:
        project.clear()
        systemctl("start", "--no-block", project.unit)
        raise
    outcome.actions.append(action)
    report.step(f"start {project.name} {desired.version}")
    project.take()
    systemctl("enable", project.unit)
    try:
        _restart(new)
        new.ask()
    except stack.Waits:
        project.settle()
        raise
    except Trouble as trouble:
        said = trouble.evidence or new.last_words()
        report.step(f"go back to {project.name} {before}")
        what = f"{desired.name} {desired.version} does not work ({trouble.message})"
        try:
            _go_back(project)
        except Trouble as again:
            if project.previous.exists():
                message = f"{what}; going back to {before} was broken off: {again.message}"
                raise Trouble(message, again.hint, again.evidence) from None
            message = (
                f"{what}; {before} is back, with its data as they were, and does not work either ({again.message})"
            )
            raise Trouble(message, trouble.hint, said) from None
        raise Trouble(f"{what}; {before} runs again, with its data as they were", trouble.hint, said) from None
    project.settle()


def _prepare(project: Project, desired: Desired) -> None:
    """All that can be done while the old one still runs."""
    project.write(desired)
    if desired.kind == "compose":
        project.add(OVERRIDE, engine.override(project.next, project.name))
        engine.pull(project.next, project.name)
    if desired.packages:
        venv.make(Path(desired.files["venv"]), project.name, desired.packages)
    make(DATA, 0o711)
    make(project.data, 0o711)
    for folder in desired.folders:
        place = project.data / folder.path
        if not place.exists():
            place.mkdir(parents=True)
            place.chmod(folder.mode)
            os.chown(place, folder.owner, folder.owner)


def _older(version: str, other: str) -> bool:
    """As Debian compares versions, which takes every text for one."""
    return run(["dpkg", "--compare-versions", version, "lt", other], patience=60).status == 0


def _restart(found: stack.Running) -> None:
    """Raises `Waits` if what it needs is away."""
    if run(["systemctl", "restart", found.project.unit], patience=1800).status:
        _does_not_start(found)


def _see_started(found: stack.Running) -> None:
    """See a start that is under way to its end. Raises `Waits` if what it needs is away."""
    # systemd joins such a start, and would begin one that has failed once more.
    if found.state() == stack.FAILS or run(["systemctl", "start", found.project.unit], patience=1800).status:
        _does_not_start(found)


def _does_not_start(found: stack.Running) -> NoReturn:
    found.require()
    raise Trouble(f"{found.name} does not start", f"systemctl status {found.project.unit}", found.last_words())


def _stop(project: Project) -> None:
    """A unit that failed to start is stopped without a word to its containers, which run all the same."""
    run(["systemctl", "stop", project.unit], patience=1800)
    engine.down(project.name)


def _go_back(project: Project) -> None:
    _stop(project)
    database_copy.put_back(project)
    project.go_back()
    project.clear()
    _restart(stack.find(project.name))


def _write(top: Mapping[str, Any], check: bool) -> bool:
    """Tell the backups which stacks are in force, and give them their keys; whether anything changed."""
    second = top.get("second") or {}
    own: dict[str, Any] = {name: top.get(name) for name in ("host", "share", "keep")}
    own |= {"key_file": str(KEY), "second": None}
    if second:
        certificate = str(CERTIFICATE) if second.get("certificate") else None
        places = {"environment_file": str(CREDENTIALS), "certificate": certificate}
        own["second"] = {"repository": second["repository"], **places}
    files = sorted(path for path in PROJECTS.glob("*/stack.json") if "." not in path.parent.name)
    credentials = "".join(f"{name}={value}\n" for name, value in sorted((second.get("environment") or {}).items()))
    desired = {
        KEY: (str(top.get("key") or ""), 0o600),
        CREDENTIALS: (credentials, 0o600),
        CERTIFICATE: (str(second.get("certificate") or ""), 0o644),
        CONFIGURATION: (records.body({**own, "stacks": [json.loads(path.read_text()) for path in files]}), 0o644),
    }
    settled = [_settle(path, text, mode, check) for path, (text, mode) in desired.items()]
    return any(settled)


def _settle(path: Path, text: str, mode: int, check: bool) -> bool:
    """A file with this text, none for an empty one; whether it had to be changed."""
    current = path.read_text() if path.exists() else ""
    if current == text or check:
        return current != text
    if not text:
        path.unlink()
        return True
    synced.write(path, text, mode)
    return True
