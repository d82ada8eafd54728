"""Accounts of services, made before the packages that would make them.

A package takes the next free number for its account, so a service's number depends on what was installed before
it, and the files it keeps on a data partition would belong to somebody else after a rebuild. Here it is fixed.
An account that is there already stays what it is: its files belong to its number.
"""

from __future__ import annotations

import grp
import pwd
from typing import Any

SYSTEM_ACCOUNT = {
    "name": {"type": "str", "required": True},
    "id": {"type": "int", "required": True},
    "comment": {"type": "str", "default": ""},
    "home": {"type": "path", "required": True},
    "shell": {"type": "str", "default": "/usr/sbin/nologin"},
}


def commands(account: dict[str, Any], groups: set[str], users: set[str]) -> list[list[str]]:
    """The programs that make the account and its group; none for what is there."""
    name, number = account["name"], str(account["id"])
    todo = []
    if name not in groups:
        todo.append(["groupadd", "--gid", number, "--", name])
    if name not in users:
        # The home directory comes with the package, which knows how open it has to be.
        todo.append(["useradd", "--uid", number, "--gid", name, "--no-create-home", "--home-dir", account["home"],
                     "--shell", account["shell"], "--comment", account["comment"], "--", name])  # fmt: skip
    return todo


def settle(module: Any, accounts: list[dict[str, Any]]) -> dict[str, Any]:
    """Make the accounts that are missing."""
    groups, users = {group.gr_name for group in grp.getgrall()}, {user.pw_name for user in pwd.getpwall()}
    todo = [command for account in accounts for command in commands(account, groups, users)]
    for command in () if module.check_mode else todo:
        module.run_command(command, check_rc=True)
    return {"changed": bool(todo), "actions": [" ".join(command) for command in todo]}
