"""Units in `host_state`: which calls of systemctl follow from what systemd shows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.roles import modules

units = modules.part("units")

SHOWN = """\
Id=a.service
LoadState=loaded
UnitFileState={a}
ActiveState={active}
ConditionResult={condition}
ConditionTimestampMonotonic={tried}

Id=b.timer
LoadState=loaded
UnitFileState=enabled
ActiveState=active
ConditionResult=yes
ConditionTimestampMonotonic=1
"""


def shown(a: str = "enabled", active: str = "active", condition: str = "yes", tried: str = "1") -> Any:
    return units.blocks(SHOWN.format(a=a, active=active, condition=condition, tried=tried))


def unit(name: str, enabled: bool | None = True, active: bool | None = True) -> dict[str, Any]:
    return {"name": name, "enabled": enabled, "active": active}


BOTH = [unit("a.service"), unit("b.timer")]


@pytest.mark.parametrize(
    ("state", "todo"),
    [
        ({}, []),
        # it runs, and systemd would go on to say what it knew of it when it was started
        ({"a": "disabled"}, [["enable", "a.service"]]),
        ({"a": "disabled", "active": "inactive"}, [["enable", "--no-reload", "a.service"], ["start", "a.service"]]),
        ({"active": "inactive"}, [["start", "a.service"]]),
        ({"active": "failed"}, [["start", "a.service"]]),
        ({"active": "activating"}, []),
        ({"a": "static", "active": "inactive"}, [["start", "a.service"]]),
        # systemd tried, and a condition of the unit does not hold on this machine
        ({"active": "inactive", "condition": "no"}, []),
        # nobody has tried yet, so the condition is not known
        ({"active": "inactive", "condition": "no", "tried": "0"}, [["start", "a.service"]]),
    ],
)
def test_only_what_differs_is_acted_on(state: dict[str, str], todo: list[list[str]]) -> None:
    assert units.actions(BOTH, shown(**state)) == todo


def test_units_are_switched_together() -> None:
    off = [unit("a.service", False, False), unit("b.timer", False, False)]
    assert units.actions(off, shown()) == [["disable", "a.service", "b.timer"], ["stop", "a.service", "b.timer"]]


def test_what_is_not_said_is_left_alone() -> None:
    assert (
        units.actions([unit("a.service", None, None), unit("b.timer", None, None)], shown("disabled", "failed")) == []
    )


@pytest.mark.negative
def test_a_missing_unit_is_named() -> None:
    missing = [{**block, "LoadState": "not-found"} for block in shown()]
    assert units.unknown(BOTH, missing) == ["a.service is not-found", "b.timer is not-found"]
    assert units.unknown([unit("a.service", False, False), unit("b.timer", None, None)], missing) == []


class Systemd:
    """A host whose unit a.service has been skipped; whether its condition holds by now."""

    check_mode = False

    def __init__(self, holds: bool) -> None:
        self.holds, self.calls = holds, list[list[str]]()

    def run_command(self, words: list[str], check_rc: bool = False) -> tuple[int, str, str]:
        if words[1] != "show":
            self.calls.append(words[1:])
        started = self.holds and any(call[0] == "start" for call in self.calls)
        text = SHOWN.format(
            a="enabled", active="active" if started else "inactive", condition="yes" if started else "no", tried="1"
        )
        wanted = [block for block in text.split("\n\n") if block.split("\n")[0].removeprefix("Id=") in words]
        return 0, "\n\n".join(wanted), ""


@pytest.mark.parametrize("holds", [False, True])
def test_what_systemd_has_skipped_is_tried_again(holds: bool) -> None:
    systemd = Systemd(holds)
    answer = units.settle(systemd, BOTH)
    assert systemd.calls == [["start", "a.service"]]
    assert answer == {
        "changed": holds,
        "actions": [["start", "a.service"]] if holds else [],
        "conditions": [] if holds else ["a.service"],
    }


@pytest.mark.negative
def test_check_mode_tries_nothing() -> None:
    systemd = Systemd(True)
    systemd.check_mode = True
    assert units.settle(systemd, BOTH)["changed"] is False
    assert systemd.calls == []
