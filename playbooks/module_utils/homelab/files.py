"""Configuration files, and what their change asks for.

All files are compared and validated before the first one is replaced, and before a unit that goes is switched off.
What has to happen after a change (`then`) is noted in /run before the files move and crossed out when it succeeded, so
that a run which is killed in between is finished by the next one. Ansible's handlers forget in that case.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import json
import os
import pwd
import shlex
import shutil
import stat
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.homelab import safe_paths

READ_UNITS = "systemctl daemon-reload"
PENDING = Path("/run/homelab-provision/pending.json")

FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "merge": {"type": "dict"},
    "link": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent", "directory"], "default": "present"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0644"},
    "validate": {"type": "str"},
    "then": {"type": "list", "elements": "str", "default": []},
    "in_effect": {"type": "str"},
}


class Seen(NamedTuple):
    """What stands at a path: `kind` is absent, file, link, directory or other; `body` the text or the link's target."""

    kind: str
    body: bytes = b""
    mode: int = 0
    uid: int = 0
    gid: int = 0


class Desired(NamedTuple):
    """What shall stand there; a link has no mode and no owner of its own."""

    path: str
    kind: str
    body: bytes = b""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    validate: str | None = None
    then: tuple[str, ...] = ()
    in_effect: str | None = None
    unit: str | None = None  # of systemd, to be switched off before its file goes


class UnwritableError(Exception):
    """The list of files cannot be brought to its state; the text says why."""


def look(path: str) -> Seen:
    """See what stands at `path`, without following a link that is not root's."""
    try:
        with safe_paths.parent_of(path) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            owner = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
            if stat.S_ISLNK(found.st_mode):
                return Seen("link", os.fsencode(os.readlink(name, dir_fd=folder)), *owner)
            if stat.S_ISDIR(found.st_mode):
                return Seen("directory", b"", *owner)
            if stat.S_ISREG(found.st_mode):
                handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
                with os.fdopen(handle, "rb") as file:
                    return Seen("file", file.read(), *owner)
            return Seen("other", b"", *owner)
    except (FileNotFoundError, NotADirectoryError):
        return Seen("absent")


def merged(present: bytes, keys: dict[str, Any]) -> bytes:
    """The JSON text `present` with `keys` set on top; the same bytes if they are all set already."""
    try:
        document = json.loads(present or b"{}")
    except ValueError as error:
        raise UnwritableError(f"is not JSON, so nothing can be merged into it: {error}") from None
    if not isinstance(document, dict):
        raise UnwritableError("is not a JSON object, so nothing can be merged into it")
    if all(name in document and document[name] == value for name, value in keys.items()):
        return present
    return (json.dumps({**document, **keys}, indent=2) + "\n").encode()


def want(spec: dict[str, Any], current: Seen, uid: int, gid: int) -> Desired:
    """What one entry of the list asks for."""
    path, then = spec["path"], tuple(spec["then"])
    given = [name for name in ("content", "merge", "link") if spec[name] is not None]
    if len(given) != (1 if spec["state"] == "present" else 0):
        raise UnwritableError(f"{path}: a present file has one of content, merge and link, every other state none")
    if spec["state"] == "absent":
        return Desired(path, "absent", then=then, unit=spec.get("unit"))
    if spec["link"] is not None:
        return Desired(path, "link", os.fsencode(spec["link"]), then=then)
    try:
        mode = int(spec["mode"], 8)
    except ValueError:
        raise UnwritableError(f"{path}: {spec['mode']!r} is no octal mode") from None
    if spec["state"] == "directory":
        return Desired(path, "directory", b"", mode, uid, gid, None, then)
    try:
        body = spec["content"].encode() if spec["content"] is not None else merged(current.body, spec["merge"])
    except UnwritableError as error:
        raise UnwritableError(f"{path} {error}") from None
    return Desired(path, "file", body, mode, uid, gid, spec["validate"], then, spec["in_effect"])


def differs(desired: Desired, current: Seen) -> bool:
    """Whether something has to be done."""
    if desired.kind != current.kind:
        return True
    if desired.kind in ("file", "link") and desired.body != current.body:
        return True
    return desired.kind in ("file", "directory") and desired[3:6] != current[2:5]


def diff(desired: Desired, current: Seen) -> dict[str, str]:
    """The change as Ansible's `--diff` shows it: the text, or the attributes where only those differ."""

    def side(kind: str, body: bytes, attributes: tuple[int, ...]) -> str:
        if current.kind == desired.kind and current.body == desired.body:
            return "mode {:04o}, uid {}, gid {}\n".format(*attributes)
        text = body.decode(errors="replace")
        return text if kind == "file" else f"{kind} {text}".rstrip() + "\n"

    return {
        "before_header": desired.path,
        "after_header": desired.path,
        "before": "" if current.kind == "absent" else side(current.kind, current.body, current[2:5]),
        "after": "" if desired.kind == "absent" else side(desired.kind, desired.body, desired[3:6]),
    }


def in_order(changes: list[Desired]) -> list[Desired]:
    """Directories first (parents before children): the files may lie in them."""
    return sorted(changes, key=lambda change: change.kind != "directory")


def batched(commands: list[str]) -> list[str]:
    """The commands without repetition, in the order of their first mention; calls of systemctl are put together.

    A unit that changed is read before anything is done with it, whichever file has asked for that first.
    """
    together: dict[str, list[str]] = {}
    for command in sorted(dict.fromkeys(commands), key=lambda command: command != READ_UNITS):
        words = command.split(" ")
        if words[0] == "systemctl" and len(words) > 2:
            units = together.setdefault(f"systemctl {words[1]}", [])
            units += [unit for unit in words[2:] if unit not in units]
        else:
            together[command] = []
    return [" ".join([command, *units]) for command, units in together.items()]


def asked(change: Desired) -> list[str]:
    """The commands that a change asks for. systemd reads a changed unit when it is told to."""
    reload = change.path.startswith("/etc/systemd/system/") and change.kind != "directory"
    return [READ_UNITS] * reload + list(change.then)


def refuse(desired: Desired, current: Seen) -> None:
    """What is never replaced silently: a directory that holds something, a device, a link into nowhere."""
    if current.kind == "directory" and desired.kind not in ("directory", "absent"):
        raise UnwritableError(f"{desired.path} is a directory")
    if current.kind == "link" and desired.kind == "directory":
        raise UnwritableError(
            f"{desired.path} is a link to {os.fsdecode(current.body)}, and a directory is wanted there; nothing was "
            "followed or changed; look who laid it there, and put the directory back"
        )
    if current.kind == "file" and desired.kind == "directory":
        raise UnwritableError(f"{desired.path} is a file, and a directory is wanted there")
    if current.kind == "other":
        raise UnwritableError(f"{desired.path} is neither a file nor a link nor a directory")
    if desired.kind == "link" and not (Path(desired.path).parent / os.fsdecode(desired.body)).exists():
        raise UnwritableError(f"{desired.path} shall link to {os.fsdecode(desired.body)}, which does not exist")


def commit(desired: Desired) -> None:
    """Bring one path to its state; a file or link is replaced in one step. No link of somebody else is followed."""
    with safe_paths.parent_of(desired.path, make=desired.kind != "absent") as (folder, name):
        if desired.kind == "absent":
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            (os.rmdir if stat.S_ISDIR(found.st_mode) else os.unlink)(name, dir_fd=folder)
        elif desired.kind == "directory":
            _settle_directory(folder, name, desired)
        else:
            _put(folder, name, desired)


def _settle_directory(folder: int, name: str, desired: Desired) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    handle = os.open(name, safe_paths.DIRECTORY, dir_fd=folder)
    try:
        os.fchown(handle, desired.uid, desired.gid)
        os.fchmod(handle, desired.mode)
    finally:
        os.close(handle)


def _put(folder: int, name: str, desired: Desired) -> None:
    new = f"{name}.homelab-provision-new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    if desired.kind == "link":
        os.symlink(os.fsdecode(desired.body), new, dir_fd=folder)
    else:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(desired.body)
            file.flush()
            os.fchown(handle, desired.uid, desired.gid)
            os.fchmod(handle, desired.mode)
            os.fsync(handle)
    try:
        os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        os.unlink(new, dir_fd=folder)
        if error.errno != errno.EBUSY or desired.kind != "file":
            raise
        # A container's /etc/hosts is a mount of its own: it can be written, not replaced.
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, dir_fd=folder), "wb") as file:
            file.write(desired.body)


def read_owed(note: Path) -> list[str]:
    """What an earlier run, which was killed perhaps, still owes, as it has noted."""
    try:
        return [str(one) for one in json.loads(note.read_text())]
    except (FileNotFoundError, ValueError):
        return []


def note_owed(note: Path, owed: list[str]) -> None:
    note.parent.mkdir(mode=0o755, exist_ok=True)
    new = note.with_suffix(".new")
    new.write_text(json.dumps(owed))
    new.replace(note)


def owner_ids(spec: dict[str, Any]) -> tuple[int, int]:
    try:
        return pwd.getpwnam(spec["owner"]).pw_uid, grp.getgrnam(spec["group"]).gr_gid
    except KeyError as error:
        raise UnwritableError(f"{spec['path']}: {error.args[0]}") from None


def validate(module: Any, desired: Desired) -> None:
    """Let the file's own program judge the new text before it goes anywhere."""
    if desired.validate is None:
        return
    draft = Path(module.tmpdir) / "draft"
    draft.write_bytes(desired.body)
    words = [word.replace("%s", str(draft)) for word in shlex.split(desired.validate)]
    if module.check_mode and shutil.which(words[0]) is None:
        return  # its package would be installed first
    code, out, err = module.run_command(words)
    draft.unlink()
    if code:
        module.fail_json(msg=f"{desired.path}: `{desired.validate}` refuses the new text: {(err or out).strip()}")


def switch_off(module: Any, unit: str) -> None:
    """Stop a unit while its file is there: systemd knows it no more afterwards."""
    code, out, err = module.run_command(["systemctl", "disable", "--now", unit])
    if code:
        module.fail_json(msg=f"{unit} is no more, but could not be switched off: {(err or out).strip()}")


def ignored(module: Any, desired: Desired) -> bool:
    """Whether the host runs on something else than the file says, although the file is right."""
    return desired.in_effect is not None and module.run_command(shlex.split(desired.in_effect))[0] != 0


def pay(module: Any, owed: list[str]) -> list[str]:
    """Run what is owed, crossing out each command that succeeded."""
    ran = []
    while owed:
        code, out, err = module.run_command(shlex.split(owed[0]))
        if code:
            module.fail_json(msg=f"`{owed[0]}` failed with status {code}: {(err or out).strip()}", owed=owed)
        ran.append(owed.pop(0))
        note_owed(PENDING, owed)
    return ran


def settle(module: Any, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Write what differs, then run what that asks for."""
    changes, diffs, unheeded = [], [], []
    try:
        for spec in files:
            current = look(spec["path"])
            desired = want(spec, current, *owner_ids(spec))
            if differs(desired, current):
                refuse(desired, current)
                validate(module, desired)
                changes.append(desired)
                diffs.append(diff(desired, current))
            elif ignored(module, desired):
                unheeded.append(desired)
        owed = batched(read_owed(PENDING) + [command for change in changes + unheeded for command in asked(change)])
        result = {"changed": bool(changes or owed), "changed_files": [change.path for change in changes], "diff": diffs}
        if module.check_mode:
            return {**result, "ran": []}
        for change in changes:
            if change.unit:
                switch_off(module, change.unit)
        if owed:
            note_owed(PENDING, owed)
        for change in in_order(changes):
            commit(change)
    except (UnwritableError, OSError) as error:
        module.fail_json(msg=str(error))
    return {**result, "ran": pay(module, owed)}
