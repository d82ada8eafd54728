"""Two runs never work at once, and the second can take over what the first found."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.programs import part

lock = part("lock")
report = part("report")
Trouble = part("errors").Trouble
REQUEST = {"command": "restore"}


@pytest.fixture(autouse=True)
def anybody_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "as_root", nullcontext)


def hold(path: Path, note: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Take the lock as another run would; returns how to give it back, with what that run left in it."""
    file = path.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(json.dumps(note))
    file.flush()

    def release(result: dict[str, Any]) -> None:
        os.ftruncate(file.fileno(), 0)
        os.pwrite(file.fileno(), json.dumps({**note, **result}).encode(), 0)
        file.close()

    return release


@pytest.mark.parametrize(("asked", "own"), [(REQUEST, False), ({"command": "prove"}, True)])
def test_who_waited_for_the_same_takes_over_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: dict[str, str], own: bool
) -> None:
    path = tmp_path / "lock"
    release = hold(path, {"pid": 7, "request": REQUEST})
    threading.Timer(0.2, release, [{"result": {"label": "theirs"}}]).start()
    found = lock.exclusive(path, asked, lambda: {"label": "own"})
    assert found == {"label": "own" if own else "theirs"}
    assert "wait for the run that is at work: `restore` (process 7)" in capsys.readouterr().out


def test_the_result_of_an_earlier_run_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert lock.exclusive(path, REQUEST, lambda: {"label": "first"}) == {"label": "first"}
    assert lock.exclusive(path, REQUEST, lambda: {"label": "second"}) == {"label": "second"}


def test_a_failed_run_leaves_no_result(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    release = hold(path, {"pid": 7, "request": REQUEST})
    threading.Timer(0.1, release, [{}]).start()
    assert lock.exclusive(path, REQUEST, lambda: {"label": "own"}) == {"label": "own"}


def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    release = hold(path, {"pid": 7, "request": REQUEST})
    os.utime(path, (0, time.time() - 100))
    with pytest.raises(Trouble, match=r"`restore` \(process 7\) holds the lock"):
        lock.exclusive(path, REQUEST, dict, patience=60)
    release({})


def test_the_lock_tells_what_its_holder_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lock"

    def work() -> dict[str, object]:
        report.step("compare the fingerprint")
        return {"now": json.loads(path.read_text())["now"]}

    assert lock.exclusive(path, REQUEST, work) == {"now": "compare the fingerprint"}


def test_progress_comes_at_a_pace_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    for done in range(101):
        report.progress("copy", done, 100, "bytes")
    report.progress("copy", 100, 100, "bytes")
    lines = [json.loads(line)["done"] for line in capsys.readouterr().out.splitlines()]
    assert lines == [0, 100]
