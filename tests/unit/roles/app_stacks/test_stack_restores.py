"""Restores: killed anywhere and run again they end right, and nothing is replaced by half."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest

from tests.unit.roles.app_stacks.host import Host, needs_restic

pytestmark = [pytest.mark.processes, needs_restic]
SLEEPS = "import homelab_stacks.restore as r\nr._require_room = lambda m: __import__('time').sleep(60)"
# They start side by side, and are seen to the end of it.
STOPPED = [
    "stop stack-notes.service",
    "start --no-block stack-notes.service",
    "stop stack-wiki.service",
    "start --no-block stack-wiki.service",
    "start stack-notes.service",
    "start stack-wiki.service",
]


def left_over(host: Host) -> list[Path]:
    return [path for name in ("notes", "wiki") for path in (host.data / name).glob(".*")]


def test_everything_comes_back_and_runs_as_before(host: Host) -> None:
    label = host.backup()["label"]
    outside = host.folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("1")
    for name in ("notes", "wiki"):
        host.write(name, 9)
        (host.data / name / "data/new").touch()
    (host.data / "notes/not-kept").touch()
    result = host.run("restore").result
    assert (result["label"], result["stacks"], result["replaced"]) == (label, 2, {})
    assert result["fingerprint"] == {"notes": {"rows": "3"}, "wiki": {"rows": "3"}}
    assert (host.rows("notes"), host.rows("wiki")) == (3, 3)
    assert not (host.data / "notes/data/new").exists()
    assert (host.data / "notes/not-kept").exists()
    assert (host.data / "notes/data/out").is_symlink()
    assert (outside / "precious").exists()
    assert host.called() == STOPPED
    assert not left_over(host)


def test_a_new_host_gets_its_data(host: Host) -> None:
    """As after a rebuild: folders that are empty, units that do not exist."""
    host.backup()
    host.data.rename(host.folder / "gone")
    for unit in (host.folder / "units").iterdir():
        unit.unlink()
    host.run("restore").result["label"]
    assert (host.rows("notes"), host.rows("wiki")) == (3, 3)
    assert not host.called()


def test_one_stack_goes_back_in_time_and_its_old_data_stay(host: Host) -> None:
    first = host.backup()
    host.write("notes", 5)
    host.backup()
    host.write("notes", 7)
    host.write("wiki", 8)
    result = host.run("restore", "--stack", "notes", "--to", first["finished"]).result
    assert (result["label"], list(result["fingerprint"])) == (first["label"], ["notes"])
    assert (host.rows("notes"), host.rows("wiki")) == (3, 8)
    old = Path(result["replaced"]["notes"])
    assert len((old / "data/rows").read_text().splitlines()) == 7
    assert left_over(host) == [old]
    host.run("restore", "--stack", "notes").result["label"]
    assert host.rows("notes") == 5
    assert not left_over(host)


@pytest.mark.negative
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stack", "blog"], "this host has no stack blog"),
        (["--label", "20200101-000000F"], "there is no backup 20200101-000000F"),
        (["--to", "2020-01-01T00:00Z"], "it holds nothing of before"),
        (["--from", "second"], "has no second repository"),
    ],
)
def test_what_is_not_there_is_refused(host: Host, words: list[str], said: str) -> None:
    host.backup()
    assert said in host.run("restore", *words).error["message"]
    assert not host.called()


@pytest.mark.negative
def test_only_the_record_that_was_judged_is_used(host: Host) -> None:
    label = host.backup()["label"]
    file = host.records / f"{label}.json"
    judged = hashlib.sha256(file.read_bytes()).hexdigest()
    text = file.read_text()
    file.write_text(text.replace('"1.4"', '"1.5"'))
    words = ("restore", "--label", label, "--record", judged)
    assert "is not the record that was judged" in host.run(*words).error["message"]
    file.write_text(text)
    host.run(*words).result["label"]


@pytest.mark.parametrize(
    "at",
    [
        "replacement.check",
        "restore._require_room",
        "replacement._others",
        "replacement.trees.exchange",
        "unit.Unit.stop",
    ],
)
def test_a_restore_that_was_killed_is_done_again(host: Host, at: str) -> None:
    host.backup()
    for name in ("notes", "wiki"):
        host.write(name, 9)
    host.killed("restore", at=at)
    assert host.rows("notes") == 9
    host.run("restore").result["label"]
    assert (host.rows("notes"), host.rows("wiki")) == (3, 3)
    assert not left_over(host)
    assert {path.read_text() for path in (host.folder / "units").iterdir()} == {"active\n"}


def test_one_that_was_killed_between_two_paths_is_completed(host: Host) -> None:
    host.setup["stacks"] = [host.stack("notes", paths=["data", "more/deep"], facts=[])]
    (host.data / "notes/more/deep").mkdir(parents=True)
    (host.data / "notes/more/deep/x").write_text("old")
    host.backup()
    host.write("notes", 9)
    (host.data / "notes/more/deep/x").write_text("new")
    kill_after = """
import homelab_stacks.trees as t, signal
was = t.exchange
def once(*words):
    was(*words)
    os.kill(os.getpid(), signal.SIGKILL)
t.exchange = once
"""
    child = host.start("restore", more=kill_after)
    child.communicate(timeout=120)
    assert child.returncode == -9
    assert (host.rows("notes"), (host.data / "notes/more/deep/x").read_text()) == (3, "new")
    assert (host.folder / "units/stack-notes.service").read_text() == "inactive\n"
    assert "was broken off" in host.run("backup").error["evidence"]
    answer = host.run("restore")
    assert not [line for line in answer.lines if "restore notes beside" in line.get("name", "")], "fetched again"
    assert answer.result["stacks"] == 1
    assert (host.data / "notes/more/deep/x").read_text() == "old"
    assert host.rows("notes") == 3
    assert (host.folder / "units/stack-notes.service").read_text() == "active\n"
    assert not left_over(host)


def test_another_backup_after_one_that_was_killed(host: Host) -> None:
    """What the first had stopped is started; what it had put in place is replaced."""
    first = host.backup()["label"]
    host.write("notes", 5)
    second = host.backup()["label"]
    host.killed("restore", "--label", first, at="unit.Unit.start")
    assert host.rows("notes") == 3
    host.run("restore", "--label", second).result["label"]
    assert (host.rows("notes"), host.rows("wiki")) == (5, 3)
    assert (host.folder / "units/stack-notes.service").read_text() == "active\n"
    assert not left_over(host)


def test_data_that_were_written_to_since_they_came_back_are_replaced_again(host: Host) -> None:
    host.backup()
    host.killed("restore", "--stack", "notes", at="unit.Unit.start")
    (host.folder / "units/stack-notes.service").write_text("active\n")
    host.write("notes", 6)
    host.run("restore").result["label"]
    assert host.rows("notes") == 3


def test_one_that_was_killed_while_stacks_start_is_done_again(host: Host) -> None:
    host.backup()
    for name in ("notes", "wiki"):
        host.write(name, 9)
    host.killed("restore", at="replacement.Replacement.settle")
    assert left_over(host)
    host.run("restore").result["label"]
    assert (host.rows("notes"), host.rows("wiki")) == (3, 3)
    assert not left_over(host)
    assert {path.read_text() for path in (host.folder / "units").iterdir()} == {"active\n"}


@pytest.mark.negative
def test_a_stack_that_does_not_start_again_is_named_with_its_old_data(host: Host) -> None:
    host.backup()
    host.write("notes", 9)
    (host.folder / "broken").touch()
    error = host.run("restore").error
    assert "systemctl start stack-notes.service failed; its old data are in " in error["message"]
    old = Path(error["message"].rpartition(" ")[2])
    assert len((old / "data/rows").read_text().splitlines()) == 9
    (host.folder / "broken").unlink()
    host.run("restore").result["label"]
    assert (host.folder / "units/stack-notes.service").read_text() == "active\n"


@pytest.mark.negative
def test_a_link_that_took_the_place_of_the_data_is_replaced_itself(host: Host) -> None:
    host.backup()
    (host.data / "notes/data").rename(host.folder / "outside")
    (host.data / "notes/data").symlink_to(host.folder / "outside")
    (host.folder / "outside/precious").touch()
    host.run("restore").result["label"]
    assert not (host.data / "notes/data").is_symlink()
    assert (host.folder / "outside/precious").exists()


def test_a_politely_stopped_restore_says_so(host: Host) -> None:
    host.backup()
    child = host.start("restore", more=SLEEPS)
    time.sleep(3)
    child.terminate()
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "stopped by SIGTERM" in json.loads(out.splitlines()[-1])["message"], err


def test_the_fingerprint_is_compared(host: Host) -> None:
    told = host.backup()["fingerprint"]
    assert host.run("fingerprint").result["fingerprint"] == told
    found = host.run("fingerprint", "--against", "-", feed=json.dumps(told)).result
    assert (found["differences"], found["stacks"], found["facts"]) == ([], 2, 2)
    host.write("wiki", 2)
    found = host.run("fingerprint", "--against", "-", feed=json.dumps({**told, "blog": {}})).result
    assert found["differences"] == ["stack blog: is not there", "stack wiki, rows: '2' instead of '3'"]
