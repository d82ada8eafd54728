"""Programs that are quick: they have an end, and nobody works beside another."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.unit.roles.programs import library

process, lock = library("process"), library("lock")
Trouble = library("errors").Trouble
pytestmark = pytest.mark.processes


def test_what_it_says_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "word")
    done = process.run_within(["sh", "-c", "cat; pwd; echo $SECRET$TZ; exit 3"], seconds=20, feed="fed\n")
    assert (done.status, done.out) == (3, "fed\n/\nUTC\n")
    assert process.run_within([Path("/bin/sh"), "-c", "printf '\\377'"], seconds=20).out == "\ufffd"


def test_its_last_word_is_one_line() -> None:
    assert process.Finished(1, "told\n", "first\nlast\n").last_word == "last"
    assert process.Finished(1, "told\n", "").last_word == "told"
    assert process.Finished(4, "", "\n").last_word == "exit status 4"


@pytest.mark.negative
def test_one_that_does_not_end_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(Trouble, match=r"^`sleep 60` has not ended within 0\.2 s$"):
        process.run_within(["sleep", "60"], seconds=0.2)
    assert time.monotonic() - begun < 30


@pytest.mark.negative
def test_one_that_is_not_there_is_named() -> None:
    with pytest.raises(Trouble, match="`no-such-program` cannot be run: No such file or directory") as refused:
        process.run_within(["no-such-program"], seconds=20)
    assert "apply this host again" in refused.value.hint


def test_who_comes_second_waits(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with lock.alone(tmp_path / "lock"):
            order.append("second")

    other = threading.Thread(target=second)
    with lock.alone(tmp_path / "lock"):
        other.start()
        time.sleep(0.3)
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]
