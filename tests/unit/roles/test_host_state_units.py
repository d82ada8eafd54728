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
        ({"a": "disabled"}, [["enable", "--no-reload", "a.service"]]),
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
    assert units.actions(off, shown()) == [
        ["disable", "--no-reload", "a.service", "b.timer"],
        ["stop", "a.service", "b.timer"],
    ]


def test_what_is_not_said_is_left_alone() -> None:
    assert (
        units.actions([unit("a.service", None, None), unit("b.timer", None, None)], shown("disabled", "failed")) == []
    )


@pytest.mark.negative
def test_a_missing_unit_is_named() -> None:
    missing = [{**block, "LoadState": "not-found"} for block in shown()]
    assert units.unknown(BOTH, missing) == ["a.service is not-found", "b.timer is not-found"]
    assert units.unknown([unit("a.service", False, False), unit("b.timer", None, None)], missing) == []
