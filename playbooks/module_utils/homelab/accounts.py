"""Who may log in, and with which keys.

Keys lie in a directory of root's own, not in home directories: leaving the list takes the access away, and
the owner of an account cannot add to it there. An account of a person that is not in the list is locked: it is let in
by nothing, is in no group that gives it power, and what it has left running ends. Its files stay.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
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
# Accounts of persons: with a number that adduser gives, and a home where persons live. Services have theirs elsewhere.
PERSONS, HOMES = range(1000, 60000), Path("/home")
# An account that expired on the second day of 1970 opens neither to sshd and su nor to cron (pam_unix, account).
EXPIRED = "1"
NO_PASSWORD = ("!", "*")
NO_LINE = ("!", "")
# sshd looks here for a file named after the account (AuthorizedKeysFile).
KEYS = Path("/etc/ssh/authorized_keys.d")
SHADOW = Path("/etc/shadow")
LINGER = Path("/var/lib/systemd/linger")


class Account(NamedTuple):
    """An account as the host has it."""

    comment: str
    shell: str
    groups: frozenset[str]
    locked: bool = False


class Entry(NamedTuple):
    """What the host's files say of an account: a line of passwd, the groups that name it, and of its line of shadow
    the password and the day on which it expires."""

    name: str
    uid: int
    home: str
    groups: frozenset[str]
    password: str = "!"
    expires: str = ""

    @property
    def has_password(self) -> bool:
        return bool(self.password) and not self.password.startswith(NO_PASSWORD)


def lock_commands(entry: Entry, lingers: bool) -> list[list[str]]:
    """The programs that take an unlisted account its access; none if it has none.

    A service's account keeps what its role gave it, but a password or `sudo` came from somebody else.
    """
    name = entry.name
    if entry.uid not in PERSONS or not Path(entry.home).is_relative_to(HOMES):
        todo = [["usermod", "--lock", "--", name]] if entry.has_password else []
        return todo + ([["gpasswd", "--delete", name, SUDO]] if SUDO in entry.groups else [])
    todo = []
    if entry.has_password or entry.expires != EXPIRED:
        todo.append(["usermod", "--lock", "--expiredate", EXPIRED, "--", name])
    if entry.groups:
        todo.append(["usermod", "--groups", "", "--", name])
    if lingers:
        todo.append(["rm", "--force", "--", str(LINGER / name)])
    return todo


def commands(user: dict[str, Any], current: Account | None) -> list[list[str]]:
    """The programs to run so that the account is as wanted; none if it is."""
    name = user["name"]
    if user["state"] == "absent":
        return [["userdel", name]] if current else []
    groups = frozenset(user["groups"]) | (frozenset([SUDO]) if user["sudo"] else frozenset())
    attributes = ["--comment", user["comment"], "--shell", user["shell"]]
    if current is None:
        joined = ["--groups", ",".join(sorted(groups))] if groups else []
        return [["useradd", "--create-home", "--user-group", *attributes, *joined, "--", name]]
    todo = []
    if current.locked:
        todo.append(["usermod", "--expiredate", "", "--", name])
    if (current.comment, current.shell) != (user["comment"], user["shell"]):
        todo.append(["usermod", *attributes, "--", name])
    if lacking := sorted(groups - current.groups):
        todo.append(["usermod", "--append", "--groups", ",".join(lacking), "--", name])
    if SUDO in current.groups - groups:
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
    return Account(entry.pw_gecos, entry.pw_shell, _groups_of(name), _shadow().get(name, ("", ""))[1] == EXPIRED)


def look_at_all() -> list[Entry]:
    """Every account but root's."""
    secrets = _shadow()
    return [
        Entry(each.pw_name, each.pw_uid, each.pw_dir, _groups_of(each.pw_name), *secrets.get(each.pw_name, NO_LINE))
        for each in pwd.getpwall()
        if each.pw_uid != 0
    ]


def _groups_of(name: str) -> frozenset[str]:
    return frozenset(group.gr_name for group in grp.getgrall() if name in group.gr_mem)


def _shadow() -> dict[str, tuple[str, str]]:
    """By account: its password and the day on which it expires (shadow(5)); Python 3.13 has no `spwd` any more."""
    lines = (line.split(":") for line in SHADOW.read_text().splitlines()) if SHADOW.exists() else ()
    return {fields[0]: (fields[1], fields[7]) for fields in lines if len(fields) > 7}


def running(uid: int) -> list[int]:
    """The processes of an account."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid == uid:
                found.append(int(process.name))
    return found


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
    desired, present = key_files(users), present_keys(KEYS)
    listed = {user["name"] for user in users}
    strangers = [entry for entry in look_at_all() if entry.name not in listed]
    todo += [command for entry in strangers for command in lock_commands(entry, (LINGER / entry.name).exists())]
    persons = [entry for entry in strangers if entry.uid in PERSONS and Path(entry.home).is_relative_to(HOMES)]
    at_work = {entry.name: running(entry.uid) for entry in persons}
    written = {name: text for name, text in desired.items() if present.get(name) != text}
    removed = sorted(present.keys() - desired.keys())
    if not module.check_mode:
        # Access is taken away before anything else can fail.
        for name in removed:
            (KEYS / name).unlink()
        for command in todo:
            module.run_command(command, check_rc=True)
        for name, text in written.items():
            write_key_file(KEYS, name, text)
        for process in (process for processes in at_work.values() for process in processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    done = [" ".join(command) for command in todo]
    done += [f"write the keys of {name}" for name in written] + [f"remove the keys of {name}" for name in removed]
    done += [f"end what {name} has running" for name, processes in at_work.items() if processes]
    return {"changed": bool(done), "actions": done}
