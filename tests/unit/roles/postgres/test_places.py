"""Directories are swapped so that a kill between any two steps can be made good, and leftovers are told from others."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.programs import part

places = part("data_dirs")
leftovers = part("stale_processes")
room = part("disk_space")
Setup = part("config").Setup
Trouble = part("errors").Trouble


class Killed(Exception):
    """The power goes."""


@pytest.fixture
def setup(tmp_path: Path) -> Any:
    data = tmp_path / "17" / "main"
    places.make(data)
    (data / "who").write_text("old")
    found = Setup("h", "17", data, tmp_path, "postgresql@17-main.service", tmp_path, 5432, "main")
    places.make(found.beside("restoring"))
    (found.beside("restoring") / "who").write_text("new")
    return found


def test_a_swap_keeps_what_it_replaces(setup: Any) -> None:
    swap = places.Swap(setup)
    replaced = swap.swap()
    assert (setup.data / "who").read_text() == "new"
    assert (replaced / "who").read_text() == "old"
    assert not swap.new.exists()


def test_a_swap_can_be_taken_back(setup: Any) -> None:
    swap = places.Swap(setup)
    swap.swap_back(swap.swap())
    assert (setup.data / "who").read_text() == "old"
    assert (swap.new / "who").read_text() == "new"


@pytest.mark.parametrize("steps", range(4))
def test_a_swap_that_was_killed_is_completed_by_the_next(
    setup: Any, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    left = iter(range(steps))

    def until_killed(work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*words: Any, **more: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return work(*words, **more)

        return step

    swap = places.Swap(setup)
    with monkeypatch.context() as killing:
        killing.setattr(places, "rename", until_killed(places.rename))
        killing.setattr(swap, "write", until_killed(swap.write))
        if steps < 3:
            with pytest.raises(Killed):
                swap.swap()
        else:
            swap.swap()
    replaced = places.Swap(setup).swap()
    assert (setup.data / "who").read_text() == "new"
    assert (replaced / "who").read_text() == "old"


def test_a_swap_needs_nothing_to_replace(setup: Any) -> None:
    places.remove(setup.data)
    assert places.Swap(setup).swap() is None
    assert (setup.data / "who").read_text() == "new"


def test_only_the_last_replaced_data_are_kept(setup: Any) -> None:
    kept = setup.beside("replaced-2")
    for each in (setup.beside("replaced-1"), kept, setup.beside("other")):
        places.make(each)
    places.Swap(setup).remove_older(kept)
    assert sorted(each.name for each in setup.data.parent.iterdir()) == [
        "main",
        "main.other",
        "main.replaced-2",
        "main.restoring",
    ]


def test_a_note_that_was_never_written_is_empty(setup: Any) -> None:
    swap = places.Swap(setup)
    assert swap.read() == {}
    swap.write(halted=True)
    swap.write(ready={"label": "x"})
    assert places.Swap(setup).read() == {"halted": True, "ready": {"label": "x"}}
    swap.forget()
    assert swap.read() == {}


@pytest.mark.negative
def test_a_note_that_does_not_fit_leaves_the_last_one_alone(setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    swap = places.Swap(setup)
    swap.write(halted=True)
    before = sorted(setup.data.parent.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        swap.write(ready={"label": "x"})
    assert sorted(setup.data.parent.iterdir()) == before
    assert swap.read() == {"halted": True}


def test_removing_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    folder = tmp_path / "main.restoring"
    places.make(folder)
    (folder / "pg_wal").symlink_to(precious)
    places.remove(folder)
    assert not folder.exists()
    assert (precious / "file").exists()


def test_directories_are_private_and_their_parents_are_not(tmp_path: Path) -> None:
    places.make(tmp_path / "a" / "b")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def process(processes: Path, pid: int, cwd: Path, *words: str) -> None:
    (processes / str(pid)).mkdir(parents=True)
    (processes / str(pid) / "cwd").symlink_to(cwd)
    (processes / str(pid) / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))


def test_leftovers_are_those_that_work_on_the_copy(tmp_path: Path) -> None:
    data, processes = tmp_path / "main.restoring", tmp_path / "proc"
    data.mkdir()
    process(processes, 11, data, "postgres:", "checkpointer")
    process(processes, 12, Path("/"), "pgbackrest", f"--pg1-path={data}", "restore:local")
    process(processes, 13, Path("/"), "pgbackrest", f"--pg1-path={data}.other", "restore")
    process(processes, 14, tmp_path, "sh")
    process(processes, os.getpid(), data, "python3")
    (processes / "self").mkdir()
    assert leftovers._at_work(data, processes) == [11, 12]
    (data / "postmaster.pid").write_text("11\n")
    assert leftovers._server(data, processes) == 11
    (data / "postmaster.pid").write_text("14\n")
    assert leftovers._server(data, processes) is None, "another process has the number by chance"


def test_nothing_left_is_nothing_to_stop(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    assert not leftovers.stop_leftovers(tmp_path / "main.restoring", tmp_path / "proc")


def test_a_copy_that_does_not_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(room.Full, match=r"is too full: .* are needed and .* are free") as refused:
        part("restore_copy")._require_room(tmp_path / "main.restoring", 1 << 60, 0)
    assert "make room" in refused.value.hint


def test_data_that_were_replaced_are_named_as_room(tmp_path: Path) -> None:
    (tmp_path / "main.replaced-1").mkdir()
    with pytest.raises(room.Full) as refused:
        part("restore_copy")._require_room(tmp_path / "main.restoring", 1 << 60, 0)
    assert str(tmp_path / "main.replaced-1") in refused.value.hint


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Trouble("x", None, "write failed: No space left on device"), room.Full),
        (OSError(28, "No space left on device"), room.Full),
        (Trouble("x", None, "something else"), Trouble),
        (OSError(5, "Input/output error"), OSError),
    ],
)
def test_what_fails_for_want_of_room_says_so(tmp_path: Path, failure: Exception, kind: type[Exception]) -> None:
    with pytest.raises(Exception, match=r".*") as raised, room.explained(tmp_path):
        raise failure
    assert type(raised.value) is kind
