"""A program that says nothing: somebody is asked why, and what they say ends it."""

from __future__ import annotations

import os
import time

import pytest

from tests.unit.roles.programs import part

process = part("process")
Trouble = part("errors").Trouble
pytestmark = [pytest.mark.processes, pytest.mark.skipif(os.geteuid() != 0, reason="it becomes others, as root does")]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TICK", 0.05)
    monkeypatch.setattr(process, "SILENCE", 0.2)


def test_who_knows_why_ends_the_program() -> None:
    def gone() -> None:
        raise Trouble("the share is gone", None, None)

    began = time.monotonic()
    with pytest.raises(Trouble, match="the share is gone"):
        process.run(["sleep", "60"], patience=50, root=True, silent=gone)
    assert time.monotonic() - began < 20


def test_who_finds_nothing_wrong_lets_it_go_on() -> None:
    asked: list[float] = []
    done = process.run(["sh", "-c", "sleep 1; echo done"], patience=50, root=True,
                       silent=lambda: asked.append(time.monotonic()))  # fmt: skip
    assert (done.status, done.out) == (0, "done\n")
    assert len(asked) >= 2


def test_a_program_that_talks_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SILENCE", 2.0)  # on a busy computer, whoever talks stops for breath
    script = "for n in $(seq 60); do echo $n; sleep 0.05; done"
    asked: list[float] = []
    process.run(["sh", "-c", script], patience=50, root=True, silent=lambda: asked.append(0))
    assert not asked
