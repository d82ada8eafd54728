"""The record of a run: journal, resume points, locks."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
import time
from datetime import datetime
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from types import SimpleNamespace

import pytest

from homelab_provision import paths
from homelab_provision.doors.process import interrupt
from homelab_provision.errors import Locked, UsageError
from homelab_provision.events import Event as RunEvent
from homelab_provision.events import (
    Notice,
    Outcome,
    PhaseFinished,
    PhaseStarted,
    Progress,
    RunFinished,
    RunResult,
    RunStarted,
)
from homelab_provision.jobs.report import document, plan_of, summary, write_report
from homelab_provision.runs import lock, store
from homelab_provision.runs.store import Damaged, Request, Run


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def new(host: str = "db-wyse", site: str = "/site") -> Run:
    return store.start(Request(command="rebuild", site=Path(site), host=host))


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
    first, second = new("bbb"), new("aaa")
    assert store.load("latest").id == second.id
    assert store.load(first.id).id == first.id
    assert store.load("0001").id == first.id
    for name in ("1999", ""):
        with pytest.raises(UsageError, match="is not a run"):
            store.load(name)
    with pytest.raises(UsageError, match="several"):
        store.load("000")


def test_last_of_a_host_is_of_this_site() -> None:
    new("db-wyse", "/other")
    with pytest.raises(UsageError, match="no rebuild"):
        store.last_of("db-wyse", Path("/site"))
    mine = new()
    assert store.last_of("db-wyse", Path("/site")).id == mine.id


def test_second_run_on_a_host_is_told_who_holds_it() -> None:
    with (
        lock.locked(["host-db"], "run-1"),
        pytest.raises(Locked, match=f"run-1.*pid {os.getpid()}"),
        lock.locked(["host-db"], "run-2"),
    ):
        pytest.fail("both held the lock")
    with lock.locked(["host-db"], "run-3"):
        pass


def test_lock_of_a_killed_holder_does_not_block() -> None:
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    holder = fork.Process(target=_hold, args=(held,))
    holder.start()
    assert held.wait(10)
    with pytest.raises(Locked), lock.locked(["host-db"], "run-2"):
        pytest.fail("both held the lock")
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with lock.locked(["host-db"], "run-2"):
        pass


def _hold(held: Event) -> None:
    with lock.locked(["host-db"], "run-1"):
        held.set()
        time.sleep(60)


# ---- which run goes on ---------------------------------------------------------------------------------------


def half_way(run: Run) -> Run:
    """As it is after it was interrupted in `flash`."""
    for phase in ("preflight", "boot"):
        run.append(PhaseStarted(phase=phase))
        run.append(PhaseFinished(phase=phase, result=Outcome.OK, seconds=1))
    run.append(PhaseStarted(phase="flash"))
    return run


@pytest.mark.negative
def test_runs_are_in_the_order_in_which_they_began_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    for year in (2030, 1970, 2026, 1999):
        clock = SimpleNamespace(now=partial(datetime, year, 1, 1, 0, 0, 0, 0))
        monkeypatch.setattr(store, "datetime", clock)
        begun.append(new().id)
    assert [run.id for run in store.everything()] == begun
    assert store.last_of("db-wyse", Path("/site")).id == store.load("latest").id == begun[-1]
    assert (paths.runs() / "latest").readlink() == Path(begun[-1])


def test_runs_of_older_versions_come_first_and_many_runs_stay_in_order() -> None:
    old = paths.private(paths.runs() / "20991231T235959Z-db-wyse-4012")
    Run(old, new().request).write("request.json", new().request.model_dump_json())
    ninth = new()
    ninth.directory.rename(ninth.directory.with_name("9999-20260101T000000Z-db-wyse"))
    last = new()
    assert last.id.startswith("10000-")
    assert next(iter(store.everything())).id == old.name
    assert store.last_of("db-wyse", Path("/site")).id == last.id


@pytest.mark.negative
def test_an_attempt_that_touched_nothing_does_not_stand_for_one_that_was_stopped_half_way() -> None:
    keeps = half_way(store.start(Request(command="rebuild", site=Path("/site"), host="db-wyse", keep_data=True)))
    empty = new()
    with pytest.raises(UsageError, match=f"two rebuilds.*{keeps.id}.*{empty.id}") as caught:
        store.last_of("db-wyse", Path("/site"))
    assert f"--resume {keeps.id}" in (caught.value.hint or "")
    assert store.named(keeps.id, "db-wyse", Path("/site")).request.keep_data
    keeps.append(RunFinished(result=RunResult.PROVEN, seconds=1))  # it came to its end after all
    assert store.last_of("db-wyse", Path("/site")).id == empty.id
    newer = half_way(new())
    assert store.last_of("db-wyse", Path("/site")).id == newer.id


@pytest.mark.negative
def test_a_run_of_another_host_or_site_is_not_gone_on_with() -> None:
    other, elsewhere = new("web-wyse"), new("db-wyse", "/other")
    for run in (other, elsewhere):
        with pytest.raises(UsageError, match="is no rebuild of `db-wyse`"):
            store.named(run.id, "db-wyse", Path("/site"))


def test_what_one_at_a_time_may_use_is_waited_for() -> None:
    told: list[str] = []
    seen: list[str] = []

    def second() -> None:
        with lock.turn("way-netboot", "wyse-b", told.append):
            seen.append("wyse-b")

    thread = threading.Thread(target=second)
    with lock.turn("way-netboot", "wyse-a", told.append), lock.turn("operator-person", "wyse-a", told.append):
        thread.start()
        give_up = time.monotonic() + 30
        while not told:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        seen.append("wyse-a")
    thread.join(timeout=30)
    assert told == ["wyse-a"]
    assert seen == ["wyse-a", "wyse-b"]


def test_ctrl_c_ends_a_wait_for_a_turn() -> None:
    ended: list[str] = []

    def second() -> None:
        try:
            with lock.turn("operator-person", "wyse-b", ended.append):
                ended.append("had it")
        except KeyboardInterrupt:
            ended.append("interrupted")

    thread = threading.Thread(target=second)
    with lock.turn("operator-person", "wyse-a", ended.append):
        thread.start()
        interrupt(thread)
        thread.join(timeout=30)
    assert ended[-1] == "interrupted"


def test_a_lock_asked_for_twice_is_one_lock() -> None:
    with lock.locked(["host-db", "host-db"]) as held_by:
        held_by("run-7")
        with pytest.raises(Locked, match="run-7"), lock.locked(["host-db"]):
            pytest.fail("both held the lock")


def test_a_run_of_many_hosts_has_a_name_that_fits() -> None:
    run = new("+".join(f"a-host-with-a-long-name-{number}" for number in range(60)))
    assert len(run.id) < 120
    assert store.load(run.id).request == run.request


# ---- what is broken ------------------------------------------------------------------------------------------


@pytest.mark.negative
@pytest.mark.parametrize("name", ["request.json", "plan.json"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "EOF|JSON"),
        ("{", "EOF|JSON"),
        ("[]", "object|dict"),
        ("\x00" * 100, "JSON"),
        ('{"another": 1}', "`another` is not known here; another version wrote it|missing|required"),
        ("[" * 100_000, "JSON|recursion"),
    ],
    ids=["empty", "torn", "list", "zeros", "another version", "deep"],
)
def test_a_broken_file_of_a_run_is_told_and_hides_no_other_run(name: str, content: str, why: str) -> None:
    first, broken, last = new(), new(), new()
    (broken.directory / name).write_text(content)
    found = [summary(run) for run in store.everything()]
    assert [one.run for one in found] == [first.id, broken.id, last.id]
    assert found[1].result is RunResult.DAMAGED
    assert found[1].note is not None
    assert found[1].note.startswith(f"{name}: ")
    assert re.search(why, found[1].note)
    with pytest.raises(Damaged, match=f"{broken.id} is damaged: {name}"):
        plan_of(store.load(broken.id))
    assert store.load(last.id) == last


@pytest.mark.negative
@pytest.mark.parametrize("name", ["request.json", "plan.json", "journal.jsonl", "console.log", "verify/a.xml"])
def test_what_is_no_file_is_never_waited_for(name: str) -> None:
    run = new()
    path = run.directory / name
    path.parent.mkdir(exist_ok=True)
    for make in (os.mkfifo, lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")):
        path.unlink(missing_ok=True)
        make(path)
        started = time.monotonic()
        (one,) = (summary(run) for run in store.everything())
        assert (one.result is RunResult.DAMAGED) == (name.endswith(("json", "jsonl")))
        if "/" in name or name.endswith("log"):
            assert "cannot be read" in write_report(run).read_text()
        assert time.monotonic() - started < 5
        if path.is_dir():
            path.rmdir()


@pytest.mark.negative
def test_a_journal_with_impossible_numbers_and_times_is_read_and_drawn() -> None:
    run = new()
    run.append(RunStarted(command="x"))
    with (run.directory / "journal.jsonl").open("a") as journal:
        for seconds in ("1e308", "-1e308", "NaN", "Infinity", "1" + "0" * 5000, '"x"', "[]", "null"):
            journal.write(f'{{"kind": "phase_finished", "phase": "boot", "result": "ok", "seconds": {seconds}}}\n')
        for at in ("2026-01-01T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "x", 1e300):
            at = at if isinstance(at, float) else f'"{at}"'
            journal.write(f'{{"kind": "phase_started", "phase": "boot", "at": {at}}}\n')
        deep = "[" * 100 + "]" * 100
        journal.write(
            f'{{"kind": "phase_finished", "phase": "a", "result": "ok", "seconds": 1, "proof": {{"a": {deep}}}}}\n'
        )
        journal.write("[1]\n5\nnull\n\x00\x00\n\n{}\n")
    assert write_report(run).stat().st_size < 1_000_000
    assert summary(run).seconds < 1e12


@pytest.mark.negative
@pytest.mark.parametrize("value", ["NaN", "-Infinity", '[1.5, {"a": Infinity}]'])
def test_a_proof_with_a_number_that_is_none_is_told_to_any_reader_of_json(value: str) -> None:
    run = new()
    with (run.directory / "journal.jsonl").open("a") as journal:
        journal.write(
            '{"kind": "phase_started", "phase": "a"}\n{"kind": "phase_finished", "phase": "a", "result": "ok",'
        )
        journal.write(f' "seconds": 1, "proof": {{"a": {value}}}}}\n')
    (phase,) = document(run)["phases"]
    assert set(json.loads(json.dumps(phase["proof"], allow_nan=False))) == {"a"}


@pytest.mark.negative
def test_a_torn_line_takes_no_other_with_it() -> None:
    run = new()
    run.append(PhaseStarted(phase="boot"))
    with (run.directory / "journal.jsonl").open("a") as journal:
        journal.write('{"kind": "phase_fin')
    run.append(RunStarted(command="x", resumed=True))
    assert [event.kind for event in run.events()] == ["phase_started", "run_started"]


@pytest.mark.negative
@pytest.mark.parametrize("text", ["", "<testsuite", "<a/>", '<testsuite><testcase time="x"/></testsuite>', "\x00"])
def test_torn_results_of_tests_are_told_in_the_report(text: str) -> None:
    run = new()
    (run.folder("verify") / "testinfra.xml").write_text(text)
    page = write_report(run).read_text()
    assert ("the results cannot be read" in page) == (text != "<a/>")


@pytest.mark.negative
def test_a_lock_that_is_no_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = paths.private(paths.locks()) / "host-db.lock"
    for make in (lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to(tmp_path / "no" / "where")):
        make(path)
        with pytest.raises(OSError) as caught, lock.locked(["host-db"]):  # noqa: PT011
            pytest.fail("it held")
        assert caught.value.filename == str(path)
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.negative
def test_a_damaged_last_run_of_a_host_is_not_passed_over_in_silence() -> None:
    run, broken = new(), new()
    (broken.directory / "request.json").write_text("")
    with pytest.raises(UsageError, match=f"may be {broken.id}, which is damaged"):
        store.last_of("db-wyse", Path("/site"))
    assert store.named(run.id, "db-wyse", Path("/site")) == run
