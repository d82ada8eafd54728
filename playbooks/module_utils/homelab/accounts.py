"""Who may log in, and with which keys.

Keys lie in a directory of root's own, not in home directories: leaving the list takes the access away, and
the owner of an account cannot add to it there.
"""

from __future__ import annotations

import grp
import pwd
from pathlib import Path
from typing import Any, NamedTuple

USER = {
    "name": {"type": "str", "required": True},
    "comment": {"type": "str", "default": ""},
    "shell": {"type": "str", "default": "/bin/bash"},
    "groups": {"type": "list", "elements": "str", "default": []},
    "sudo": {"type": "bool", "default": False},
    "keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
SUDO = "sudo"
# sshd looks here for a file named after the account (AuthorizedKeysFile).
KEYS = Path("/etc/ssh/authorized_keys.d")


class Account(NamedTuple):
    """An account as the host has it."""

    comment: str
    shell: str
    groups: frozenset[str]


def commands(user: dict[str, Any], seen: Account | None) -> list[list[str]]:
    """The programs to run so that the account is as wanted; none if it is."""
    name = user["name"]
    if user["state"] == "absent":
        return [["userdel", name]] if seen else []
    groups = frozenset(user["groups"]) | (frozenset([SUDO]) if user["sudo"] else frozenset())
    attributes = ["--comment", user["comment"], "--shell", user["shell"]]
    if seen is None:
        joined = ["--groups", ",".join(sorted(groups))] if groups else []
        return [["useradd", "--create-home", "--user-group", *attributes, *joined, "--", name]]
    todo = []
    if (seen.comment, seen.shell) != (user["comment"], user["shell"]):
        todo.append(["usermod", *attributes, "--", name])
    if lacking := sorted(groups - seen.groups):
        todo.append(["usermod", "--append", "--groups", ",".join(lacking), "--", name])
    if SUDO in seen.groups - groups:
        todo.append(["gpasswd", "--delete", name, SUDO])
    return todo


def key_files(users: list[dict[str, Any]]) -> dict[str, str]:
    """The text of each key file, by account."""
    return {
        user["name"]: "".join(f"{key.strip()}\n" for key in user["keys"])
        for user in users
        if user["state"] == "present" and user["keys"]
    }


def look(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = frozenset(group.gr_name for group in grp.getgrall() if name in group.gr_mem)
    return Account(entry.pw_gecos, entry.pw_shell, groups)


def present_keys(directory: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in directory.iterdir()} if directory.is_dir() else {}


def write_key_file(directory: Path, name: str, text: str) -> None:
    directory.mkdir(mode=0o755, exist_ok=True)
    # Accounts have no dots at the front, so sshd never takes the unfinished file for one.
    new = directory / f".{name}.new"
    new.write_text(text)
    new.chmod(0o644)
    new.replace(directory / name)


def settle(module: Any, users: list[dict[str, Any]]) -> dict[str, Any]:
    """Make, change and remove accounts; write and remove key files."""
    if any(user["name"] == "root" for user in users):
        module.fail_json(msg="root is no account of this list: its key comes with the installation")
    todo = [command for user in users for command in commands(user, look(user["name"]))]
    wanted, present = key_files(users), present_keys(KEYS)
    written = {name: text for name, text in wanted.items() if present.get(name) != text}
    removed = sorted(present.keys() - wanted.keys())
    if not module.check_mode:
        # Access is taken away before anything else can fail.
        for name in removed:
            (KEYS / name).unlink()
        for command in todo:
            module.run_command(command, check_rc=True)
        for name, text in written.items():
            write_key_file(KEYS, name, text)
    done = [" ".join(command) for command in todo]
    done += [f"write the keys of {name}" for name in written] + [f"remove the keys of {name}" for name in removed]
    return {"changed": bool(done), "actions": done}
