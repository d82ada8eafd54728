"""The record of a run: journal, resume points, locks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from homelab_provision import runs
from homelab_provision.errors import Locked, UsageError
from homelab_provision.events import Event as RunEvent
from homelab_provision.events import Notice, Outcome, PhaseFinished, PhaseStarted, Progress
from homelab_provision.runs import Request, Run


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def new(host: str = "db-wyse", site: str = "/site") -> Run:
    return runs.start(Request(command="rebuild", site=Path(site), host=host))


def test_journal_gives_back_what_was_told_but_no_progress() -> None:
    run = new()
    told: list[RunEvent] = [PhaseStarted(phase="boot"), Notice(text="hello")]
    for event in (*told, Progress(name="x", done=1)):
        run.append(event)
    assert run.events() == told


def test_torn_last_line_of_a_killed_run_is_left_out() -> None:
    run = new()
    run.append(PhaseStarted(phase="boot"))
    with (run.directory / "journal.jsonl").open("a") as journal:
        journal.write('{"kind": "phase_fin')
    assert [event.kind for event in run.events()] == ["phase_started"]


def test_a_phase_is_proven_by_its_last_attempt_only() -> None:
    run = new()
    for phase, result in (("boot", Outcome.OK), ("flash", Outcome.OK), ("arrive", Outcome.FAILED)):
        run.append(PhaseStarted(phase=phase))
        run.append(PhaseFinished(phase=phase, result=result, seconds=1))
    run.append(PhaseStarted(phase="flash"))  # and killed in it
    assert set(run.proven()) == {"boot"}


def test_files_of_a_run_are_private() -> None:
    run = new()
    run.append(Notice(text="x"))
    run.write("plan.json", "{}")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (run.directory, *run.directory.iterdir())}
    assert modes[run.directory.name] == 0o700
    assert {mode for name, mode in modes.items() if name != run.directory.name} == {0o600}


def test_latest_and_unique_beginnings_name_a_run() -> None:
    first, second = new("aaa"), new("bbb")
    assert runs.load("latest").id == max(first.id, second.id)
    assert runs.load(first.id).id == first.id
    with pytest.raises(UsageError, match="is not a run"):
        runs.load("1999")
    with pytest.raises(UsageError, match="several"):
        runs.load(first.id[:4])  # the year


def test_last_of_a_host_is_of_this_site() -> None:
    new("db-wyse", "/other")
    with pytest.raises(UsageError, match="no rebuild"):
        runs.last_of("db-wyse", Path("/site"))
    mine = new()
    assert runs.last_of("db-wyse", Path("/site")).id == mine.id


def test_second_run_on_a_host_is_told_who_holds_it() -> None:
    with (
        runs.locked(["host-db"], "run-1"),
        pytest.raises(Locked, match=f"run-1.*pid {os.getpid()}"),
        runs.locked(["host-db"], "run-2"),
    ):
        pytest.fail("both held the lock")
    with runs.locked(["host-db"], "run-3"):
        pass


def test_lock_of_a_killed_holder_does_not_block() -> None:
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    holder = fork.Process(target=_hold, args=(held,))
    holder.start()
    assert held.wait(10)
    with pytest.raises(Locked), runs.locked(["host-db"], "run-2"):
        pytest.fail("both held the lock")
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with runs.locked(["host-db"], "run-2"):
        pass


def _hold(held: Event) -> None:
    with runs.locked(["host-db"], "run-1"):
        held.set()
        time.sleep(60)
