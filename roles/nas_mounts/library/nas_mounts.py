#!/usr/bin/python
"""Ansible module: the shares of a NAS that a host mounts, all in one round trip.

Compares first, and touches no share in doing so: whether the server is there is not its business. Its parts
are in module_utils/homelab_nas_mounts.
"""

from __future__ import annotations

import pwd
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.homelab import files
from ansible.module_utils.homelab.unlogged import UnloggedModule
from ansible.module_utils.homelab_nas_mounts import mount_files, mount_units, mountpoint, spec, time_limits
from ansible.module_utils.homelab_nas_mounts.spec import Entry, NasError, unit_name

DOCUMENTATION = r"""
module: nas_mounts
short_description: NFS and SMB shares, mounted when they are first used
description:
  - Keeps a mount unit and an automount unit for each share. Lines of C(/etc/fstab) would keep systemd waiting.
  - A server that is away delays nothing but the access to its own shares; it is warned of.
  - What is listed no longer is unmounted, and everything of it removed.
options:
  mounts:
    description: The shares.
    type: list
    elements: dict
    required: true
    suboptions:
      source: {type: str, description: "C(server:/directory) for nfs, C(//server/share) for smb."}
      path: {type: str, required: true, description: Where it is mounted; the directory is made.}
      protocol: {type: str, choices: [nfs, smb], default: nfs, description: NFS 4.x or SMB 3.x.}
      profile:
        type: str
        choices: [data, backup, media]
        default: data
        description: Data waits for a server that went away; backup and media fail after some seconds.
      options: {type: list, elements: str, default: [], description: More options; they win over those of the profile.}
      username: {type: str, description: Account at the server (smb). Without one, as a guest.}
      password: {type: str, description: Its password.}
      domain: {type: str, description: Its domain.}
      owner: {type: str, description: Account of this host that owns the files (smb).}
      state: {type: str, choices: [present, absent], default: present, description: Absent is like not listed.}
"""

EXAMPLES = r"""
- name: Mount the backup share
  nas_mounts:
    mounts:
      - {source: "192.168.50.20:/srv/backup", path: /mnt/backup, profile: backup}
"""

RETURN = r"""
actions: {description: "What was (or would be) done, in words.", type: list, elements: str, returned: always}
silent: {description: Servers that did not answer., type: list, elements: str, returned: always}
"""

FSTAB = Path("/etc/fstab")


class Plan(NamedTuple):
    """What differs, by path, in the order in which it is carried out."""

    unguarded: list[str]
    files: dict[str, list[files.Desired]]
    removed: list[str]
    changed: list[str]
    asleep: list[str]
    left_over: list[Path]
    unheeded: bool

    @property
    def actions(self) -> list[str]:
        """The plan in words."""
        return [
            *[f"make {path} immutable" for path in self.unguarded],
            *[f"write {one.path}" for lacking in self.files.values() for one in lacking],
            *[f"unmount {path} and remove it" for path in self.removed],
            *(["let systemd read what is written"] if self.unheeded else []),
            *[f"mount {path} anew" for path in self.changed],
            *[f"start {unit_name(path)}.automount" for path in self.asleep],
            *[f"remove {path}" for path in self.left_over],
        ]


def arguments() -> dict[str, Any]:
    return {"mounts": {"type": "list", "elements": "dict", "required": True, "options": spec.ENTRY}}


def ids(account: str) -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise NasError(f"`owner` is {account!r}; there is no such account on this host") from None
    return entry.pw_uid, entry.pw_gid


def plan(module: Any, entries: list[Entry], present: Collection[str]) -> Plan:
    """Compare the list with the host. Raises `NasError` for what must not be touched."""
    paths = [entry.path for entry in entries]
    mountpoint.refuse_line_of_fstab(FSTAB.read_text() if FSTAB.exists() else "", paths)
    mounts = mountpoint.mounts_now()
    for path in paths:
        mountpoint.refuse_remote_parent(path, mounts)
        if path in mounts and path not in present:
            raise NasError(f"{path} is mounted already ({mounts[path][-1]}), but not by nas_mounts; unmount it first")
    lacking = {entry.path: found for entry in entries if (found := mount_files.missing(entry))}
    removed = [path for path in present if path not in paths]
    due = {*lacking, *files.read_owed(mount_files.OWED)}
    changed = [path for path in paths if path in present and path in due]
    shown = mount_units.look(module, paths)
    return Plan(
        unguarded=[path for path in paths if not mountpoint.is_guarded(path)],
        files=lacking,
        removed=removed,
        changed=changed,
        asleep=[path for path in mount_units.asleep(paths, shown) if path not in changed],
        left_over=mount_files.left_over(entries, removed),
        unheeded=mount_units.unheeded(shown),
    )


def carry_out(module: Any, todo: Plan, answers: dict[str, bool]) -> list[str]:
    """Do what the plan says; what could not be done, in words."""
    for path in todo.unguarded:
        mountpoint.guard(path)
    # Noted before anything says that the change is made: a run that is killed is finished by the next one.
    files.note_owed(mount_files.OWED, todo.changed)
    for one in (one for lacking in todo.files.values() for one in lacking):
        files.commit(one)
    problems = retire(module, todo, answers)
    module.run_command(["systemctl", "daemon-reload"], check_rc=True)
    problems += renew(module, todo, answers)
    if todo.asleep:
        units = [f"{unit_name(path)}.automount" for path in todo.asleep]
        module.run_command(["systemctl", "start", *units], check_rc=True)
    for leftover in todo.left_over:
        mount_files.remove(leftover)
    return problems


def retire(module: Any, todo: Plan, answers: dict[str, bool]) -> list[str]:
    """Unmount and remove what is listed no longer; what has to stay, and why."""
    problems = []
    for path in todo.removed:
        if problem := mount_units.let_go(path, answers=answers[path]):
            problems.append(f"{problem}; it is removed when nobody uses it, by the next run")
            continue
        # Whatever is mounted on an automount that stops is taken away with it: that is why the share went first.
        module.run_command(["systemctl", "stop", f"{unit_name(path)}.automount"], check_rc=True)
        mountpoint.release(path)
        for place in mount_files.places(path):
            mount_files.remove(place)
    return problems


def renew(module: Any, todo: Plan, answers: dict[str, bool]) -> list[str]:
    """Let what has changed take effect; what has to wait, and why."""
    owed, problems = list(todo.changed), []
    for path in todo.changed:
        if problem := mount_units.let_go(path, answers=answers[path]):
            problems.append(f"{problem}; its new options take effect when nobody uses it, by the next run or boot")
            continue
        module.run_command(["systemctl", "restart", f"{unit_name(path)}.automount"], check_rc=True)
        owed.remove(path)
        files.note_owed(mount_files.OWED, owed)
    return problems


def warnings(entries: list[Entry], found: dict[tuple[str, int], bool]) -> list[str]:
    """The servers that do not answer, and what is away with them."""
    silent: dict[tuple[str, int], list[str]] = {}
    for entry in entries:
        if not found[entry.server, entry.port]:
            silent.setdefault((entry.server, entry.port), []).append(entry.path)
    return [
        f"{server} does not answer at port {port}: {', '.join(paths)} will be there when it does"
        for (server, port), paths in silent.items()
    ]


def main() -> None:
    module = UnloggedModule(argument_spec=arguments(), supports_check_mode=True)
    try:
        entries, present = spec.read(module.params["mounts"], ids), mount_files.present()
        todo = plan(module, entries, present)
        found = time_limits.probe({*((entry.server, entry.port) for entry in entries), *present.values()})
        silent, problems = warnings(entries, found), []
        for text in silent:
            module.warn(text)
        if todo.actions and not module.check_mode:
            problems = carry_out(module, todo, {path: found[server] for path, server in present.items()})
    except (NasError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = [{"prepared": "".join(f"{action}\n" for action in todo.actions)}] if todo.actions else []
    answer = {"changed": bool(todo.actions), "actions": todo.actions, "silent": silent, "diff": diff}
    if problems:
        module.fail_json(msg="; ".join(problems), **answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
