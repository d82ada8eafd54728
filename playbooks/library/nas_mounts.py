#!/usr/bin/python
"""Ansible module: the shares of a NAS that a host mounts, all in one round trip.

Compares first, and touches no share in doing so: whether the server is there is not its business. Its parts
are in module_utils/homelab.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.homelab import bare_directory, files, fstab, nas_entries, nas_files, nas_units
from ansible.module_utils.homelab.nas_entries import Entry, NasError, unit_name

DOCUMENTATION = r"""
module: nas_mounts
short_description: NFS and SMB shares, mounted when they are first used
description:
  - Keeps a block of lines in C(/etc/fstab), from which systemd makes an automount for each share.
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

FSTAB = "/etc/fstab"
# In a copy of the mounts in which the directories that hold shares are covered by themselves, bare: so findmnt cannot
# run into a share that hangs.
JUDGE = """
draft=$1; shift
for parent; do mount --bind "$parent" "$parent"; done
exec findmnt --verify --tab-file "$draft"
"""


class DiscreetModule(AnsibleModule):  # type: ignore[misc]  # Ansible ships no types
    """Keeps its arguments to itself: Ansible would write them into the host's journal."""

    def _log_invocation(self) -> None:
        pass


class Plan(NamedTuple):
    """What differs: the two texts of fstab, and what is to happen to which path."""

    before: str
    entries: list[Entry]
    table: fstab.Table
    removed: list[str]
    changed: list[str]
    asleep: list[str]
    unguarded: list[str]
    files: list[files.Wanted]
    left_over: list[Path]
    unheeded: bool

    def text(self, kept: Iterable[str] = ()) -> str:
        """The new fstab; `kept` are removed paths whose lines stay all the same."""
        lines = fstab.own_lines(self.table)
        return fstab.with_lines(self.table, [*(entry.line for entry in self.entries), *(lines[path] for path in kept)])

    @property
    def actions(self) -> list[str]:
        """The plan in words, in the order in which it is carried out."""
        return [
            *[f"make {path} immutable" for path in self.unguarded],
            *[f"write {one.path}" for one in self.files],
            *[f"unmount {path}" for path in self.removed],
            *([f"write {FSTAB}"] if self.text() != self.before else []),
            *(["let systemd read what is written"] if self.unheeded else []),
            *[f"mount {path} anew" for path in self.changed],
            *[f"start {unit_name(path)}.automount" for path in self.asleep],
            *[f"remove {path}" for path in self.left_over],
        ]


def arguments() -> dict[str, Any]:
    return {"mounts": {"type": "list", "elements": "dict", "required": True, "options": nas_entries.ENTRY}}


def ids(account: str) -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise NasError(f"`owner` is {account!r}; there is no such account on this host") from None
    return entry.pw_uid, entry.pw_gid


def plan(module: Any, before: str) -> Plan:
    """Compare the list with the host. Raises `NasError` for what must not be touched."""
    entries = nas_entries.read(module.params["mounts"], ids)
    table, paths = fstab.split(before), [entry.path for entry in entries]
    own = fstab.own_lines(table)
    fstab.refuse_foreign(table, paths)
    mounts = bare_directory.mounts_now()
    for path in paths:
        bare_directory.refuse_remote_parent(path, mounts)
        if path in mounts and path not in own:
            raise NasError(f"{path} is mounted already ({mounts[path][-1]}), but not by nas_mounts; unmount it first")
    needed = nas_files.wanted(entries)
    lacking, shown = nas_files.missing(needed), nas_units.look(module, paths)
    renewed, owed = {one.path for one in lacking}, nas_files.read_owed()

    def has_changed(entry: Entry) -> bool:
        """Whether the share may be mounted in another way than is wanted now."""
        secret = str(nas_files.places(entry.path)[1])
        return own[entry.path] != entry.line or secret in renewed or entry.path in owed

    changed = [entry.path for entry in entries if entry.path in own and has_changed(entry)]
    return Plan(
        before=before,
        entries=entries,
        table=table,
        removed=[path for path in own if path not in paths],
        changed=changed,
        asleep=[path for path in nas_units.asleep(paths, shown) if path not in changed],
        unguarded=[path for path in paths if not bare_directory.is_guarded(path)],
        files=lacking,
        left_over=nas_files.left_over(needed),
        unheeded=nas_units.unheeded(shown),
    )


def judge(module: Any, todo: Plan) -> None:
    """Let findmnt read the new fstab. Raises `NasError` for errors that the present one does not have."""
    parents = sorted({str(parent) for entry in todo.entries if (parent := Path(entry.path).parent).is_dir()} - {"/"})

    def complaints(text: str) -> set[tuple[str, str]]:
        draft = Path(module.tmpdir) / "fstab"
        draft.write_text(text)
        words = ["timeout", "20", "unshare", "--mount", "sh", "-c", JUDGE, "judge", str(draft), *parents]
        code, out, err = module.run_command(words)
        found = fstab.complaints(f"{out}\n{err}")
        return found or ({("", f"findmnt ended with status {code}")} if code else set())

    # In check mode the directories are not there yet.
    ours = set(todo.unguarded) if module.check_mode else set()
    if new := {error for error in complaints(todo.text()) if error[0] not in ours}:
        new -= complaints(todo.before)
    if new:
        told = "; ".join(sorted(f"{path}: {error}" if path else error for path, error in new))
        raise NasError(f"findmnt refuses the new {FSTAB}, so the old one stays: {told}")


def carry_out(module: Any, todo: Plan, answers: dict[str, bool]) -> list[str]:
    """Do what the plan says; what could not be done, in words."""
    for path in todo.unguarded:
        bare_directory.guard(path)
    for one in todo.files:
        files.commit(one)
    if todo.text() != todo.before:
        judge(module, todo)
    # Noted before anything says that the change is made: a run that is killed is finished by the next one.
    nas_files.note_owed(todo.changed)
    kept = retire(module, todo, answers)
    if todo.text(kept) != todo.before:
        files.commit(files.Wanted(FSTAB, "file", todo.text(kept).encode(), 0o644))
    module.run_command(["systemctl", "daemon-reload"], check_rc=True)
    problems = [*kept.values(), *renew(module, todo, answers)]
    if todo.asleep:
        units = [f"{unit_name(path)}.automount" for path in todo.asleep]
        module.run_command(["systemctl", "start", *units], check_rc=True)
    staying = {place for path in kept for place in nas_files.places(path)}
    for leftover in todo.left_over:
        if leftover not in staying:
            nas_files.remove(leftover)
    return problems


def retire(module: Any, todo: Plan, answers: dict[str, bool]) -> dict[str, str]:
    """Unmount what is listed no longer; the paths that have to stay, and why."""
    kept = {}
    for path in todo.removed:
        if problem := nas_units.let_go(path, answers=answers[path]):
            kept[path] = f"{problem}; it is removed when nobody uses it, by the next run"
            continue
        # Whatever is mounted on an automount that stops is taken away with it: that is why the share went first.
        module.run_command(["systemctl", "stop", f"{unit_name(path)}.automount"], check_rc=True)
        bare_directory.release(path)
    return kept


def renew(module: Any, todo: Plan, answers: dict[str, bool]) -> list[str]:
    """Let what has changed take effect; what has to wait, and why."""
    owed, problems = list(todo.changed), []
    for path in todo.changed:
        if problem := nas_units.let_go(path, answers=answers[path]):
            problems.append(f"{problem}; its new options take effect when nobody uses it, by the next run or boot")
            continue
        module.run_command(["systemctl", "restart", f"{unit_name(path)}.automount"], check_rc=True)
        owed.remove(path)
        nas_files.note_owed(owed)
    return problems


def ask_servers(todo: Plan) -> tuple[dict[str, bool], list[str]]:
    """Whether the server answers at which each path is mounted now; and those that do not answer, with their paths."""
    wanted = {entry.path: (entry.server, entry.port) for entry in todo.entries}
    present = fstab.servers(todo.table)
    found = nas_units.probe({*wanted.values(), *present.values()})
    silent: dict[tuple[str, int], list[str]] = {}
    for path, server in wanted.items():
        if not found[server]:
            silent.setdefault(server, []).append(path)
    told = [f"{server} does not answer at port {port}: {', '.join(paths)} will be there when it does"
            for (server, port), paths in silent.items()]  # fmt: skip
    return {path: found[server] for path, server in present.items()}, told


def main() -> None:
    module = DiscreetModule(argument_spec=arguments(), supports_check_mode=True)
    try:
        before = Path(FSTAB).read_text() if Path(FSTAB).exists() else ""
        todo = plan(module, before)
        answers, silent = ask_servers(todo)
        for text in silent:
            module.warn(text)
        actions, problems = todo.actions, []
        if actions and not module.check_mode:
            problems = carry_out(module, todo, answers)
        elif todo.text() != before:
            judge(module, todo)
    except (NasError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = [{"prepared": "".join(f"{action}\n" for action in actions)}] if actions else []
    if todo.text() != before:
        diff.append({"before_header": FSTAB, "after_header": FSTAB, "before": before, "after": todo.text()})
    told = {"changed": bool(actions), "actions": actions, "silent": silent, "diff": diff}
    if problems:
        module.fail_json(msg="; ".join(problems), **told)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
