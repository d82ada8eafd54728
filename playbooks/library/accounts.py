#!/usr/bin/python
"""Ansible module: who may log in, and with which keys, in one round trip.

Keys lie in a directory of root's own, not in home directories: leaving the list takes the access away, and
the owner of an account cannot add to it there.
"""

from __future__ import annotations

import grp
import pwd
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: accounts
short_description: Make user accounts and their SSH keys
description:
  - Accounts are made without a password; a key file is made for each, and key files of all others are removed.
options:
  keys_directory: {type: path, required: true, description: Where sshd looks for the key file named after the account.}
  users:
    description: The accounts. One that is no longer listed stays, but its keys go.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {type: str, required: true, description: Login name.}
      comment: {type: str, default: "", description: Real name.}
      shell: {type: str, default: /bin/bash, description: Login shell.}
      groups: {type: list, elements: str, default: [], description: Groups to be in, beside those of other roles.}
      sudo: {type: bool, default: false, description: Whether the account is in the group sudo.}
      keys: {type: list, elements: str, default: [], description: Public keys that open it.}
      state: {type: str, choices: [present, absent], default: present, description: Absent keeps the home directory.}
"""

EXAMPLES = r"""
- name: Let Ada in
  accounts:
    keys_directory: /etc/ssh/authorized_keys.d
    users:
      - {name: ada, sudo: true, keys: ["ssh-ed25519 AAAA… ada@laptop"]}
"""

RETURN = r"""
actions: {description: What was done (or would be), one line each., type: list, elements: str, returned: always}
"""

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


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "keys_directory": {"type": "path", "required": True, "no_log": False},
            "users": {"type": "list", "elements": "dict", "required": True, "options": USER},
        },
        supports_check_mode=True,
    )
    users, directory = module.params["users"], Path(module.params["keys_directory"])
    if any(user["name"] == "root" for user in users):
        module.fail_json(msg="root is no account of this list: its key comes with the installation")
    todo = [command for user in users for command in commands(user, look(user["name"]))]
    wanted, present = key_files(users), present_keys(directory)
    written = {name: text for name, text in wanted.items() if present.get(name) != text}
    removed = sorted(present.keys() - wanted.keys())
    done = [" ".join(command) for command in todo]
    done += [f"write the keys of {name}" for name in written] + [f"remove the keys of {name}" for name in removed]
    if not module.check_mode:
        # Access is taken away before anything else can fail.
        for name in removed:
            (directory / name).unlink()
        for command in todo:
            module.run_command(command, check_rc=True)
        for name, text in written.items():
            write_key_file(directory, name, text)
    module.exit_json(changed=bool(done), actions=done)


if __name__ == "__main__":
    main()
