"""Accounts of services in `host_state`: made with their number, left alone when they are there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.roles import modules

system_accounts = modules.part("system_accounts")
POSTGRES = {"name": "postgres", "id": 5432, "comment": "PostgreSQL", "home": "/var/lib/postgresql", "shell": "/bin/sh"}


def test_a_missing_account_gets_its_group_and_its_number() -> None:
    group, user = system_accounts.commands(POSTGRES, set(), set())
    assert group == ["groupadd", "--gid", "5432", "--", "postgres"]
    assert user[:5] == ["useradd", "--uid", "5432", "--gid", "postgres"]
    assert user[-1] == "postgres"


@pytest.mark.parametrize(
    ("groups", "users", "programs"),
    [({"postgres"}, set(), ["useradd"]), (set(), {"postgres"}, ["groupadd"]), ({"postgres"}, {"postgres"}, [])],
)
def test_what_is_there_stays(groups: set[str], users: set[str], programs: list[str]) -> None:
    assert [command[0] for command in system_accounts.commands(POSTGRES, groups, users)] == programs


def test_check_mode_makes_nothing(tmp_path: Any, capsys: Any) -> None:
    missing = {**POSTGRES, "name": "hlp-nobody-has-this"}
    answer = modules.play({"system_accounts": [missing]}, tmp_path, capsys, check=True)
    assert answer["changed"]
    assert len(answer["system_accounts"]["actions"]) == 2
