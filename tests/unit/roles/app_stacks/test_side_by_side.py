"""What stacks need is fetched side by side, and each is told what went wrong with it alone."""

from __future__ import annotations

from threading import Barrier
from typing import Any

import pytest

from tests.unit.roles import programs

apply, desired = programs.stacks("apply"), programs.stacks("desired")
errors = programs.library("errors")

STACKS = [desired.Desired(name, present=True) for name in ("chats", "door")]


def fetched(monkeypatch: pytest.MonkeyPatch, ready: Any) -> dict[str, Any]:
    monkeypatch.setattr(apply, "_ready", lambda one, check: ready(one.name))
    outcomes = {each.name: apply.Outcome() for each in STACKS}
    apply._side_by_side(STACKS, outcomes, False)
    return outcomes


def test_they_are_fetched_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together = Barrier(len(STACKS), timeout=10)
    outcomes = fetched(monkeypatch, lambda name: together.wait())
    assert all(outcome.well for outcome in outcomes.values())


@pytest.mark.negative
def test_what_cannot_be_had_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def ready(name: str) -> None:
        if name == "chats":
            raise errors.Trouble("the image cannot be had", "compare its digest")

    outcomes = fetched(monkeypatch, ready)
    assert (outcomes["chats"].failed, outcomes["chats"].hint) == ("the image cannot be had", "compare its digest")
    assert outcomes["door"].well


@pytest.mark.negative
def test_a_fault_of_the_program_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LookupError):
        fetched(monkeypatch, {}.__getitem__)
