"""The old cluster is started again when a restore comes to nothing, and what stood in the way is not hidden by that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.programs import part

places = part("data_dirs")
Setup = part("config").Setup
Trouble = part("errors").Trouble
Halt = part("restore").Halt


class Service:
    """A cluster that starts, or does not."""

    def __init__(self, fails: bool = False) -> None:
        self.starts = 0
        self._fails = fails

    def start(self) -> None:
        self.starts += 1
        if self._fails:
            raise Trouble("systemctl start failed", "look at the journal", "no space")


@pytest.fixture
def swap(tmp_path: Path) -> Any:
    data = tmp_path / "17" / "main"
    places.make(data)
    return places.Swap(Setup("h", "17", data, tmp_path, "postgresql@17-main.service", tmp_path, 5432, "main"))


@pytest.mark.parametrize("halted", [True, False])
def test_it_starts_what_it_has_stopped(swap: Any, halted: bool) -> None:
    service = Service()
    if halted:
        swap.write(halted=True)
    with pytest.raises(Trouble, match="the disk is full"), Halt(service, swap):
        raise Trouble("the disk is full")
    assert service.starts == halted
    assert swap.read() == {}


@pytest.mark.negative
def test_a_cluster_that_does_not_start_does_not_hide_why_the_restore_failed(swap: Any) -> None:
    swap.write(halted=True)
    with pytest.raises(Trouble) as caught, Halt(Service(fails=True), swap):
        raise Trouble("the disk is full", "make room")
    assert caught.value.message == "the disk is full; and the old cluster does not start: systemctl start failed"
    assert (caught.value.hint, caught.value.evidence) == ("make room", "no space")
    # The next run knows that somebody was served.
    assert swap.read() == {"halted": True}
