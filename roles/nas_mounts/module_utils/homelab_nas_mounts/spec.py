"""Shares of a NAS: what an entry of the list means, as units of systemd and as credentials.

Pure: an entry in, text out. Why the options are what they are stands beside them.

Units of our own and no lines of fstab: whenever systemd reloads, its generator walks the path of every line of
fstab. It would wait for a share that is mounted and whose NAS is away, be killed for it after 90 seconds, and all
other lines would be without their units, too, that of /srv among them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

ENTRY = {
    "source": {"type": "str"},
    "path": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": ["nfs", "smb"], "default": "nfs"},
    "profile": {"type": "str", "choices": ["data", "backup", "media"], "default": "data"},
    "options": {"type": "list", "elements": "str", "default": []},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "domain": {"type": "str"},
    "owner": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
CREDENTIALS = PurePosixPath("/etc/homelab-provision/nas")
PORTS = {"nfs4": 2049, "cifs": 445}

# What comes from elsewhere brings no devices and no setuid programs; nothing at boot depends on it (nofail).
COMMON = ("nofail", "_netdev", "nosuid", "nodev")
# Data waits for its server as it would for its disk: an error in the middle of a file is worse than a pause. A backup
# or a film had better fail, and soon: a request after about 40 s over NFS (5 s for the first try, longer for the next
# three), after about 15 s over SMB, which pings its server.
WAIT = {"nfs4": ("hard",), "cifs": ("hard",)}
FAIL = {"nfs4": ("softerr", "timeo=50", "retrans=3"), "cifs": ("soft", "echo_interval=5")}
# The type nfs4 takes the newest version 4.x that both sides know (a Synology stops at 4.1); so does 3 for SMB 3.x.
SMB = ("vers=3", "forceuid", "forcegid", "file_mode=0640", "dir_mode=0750")

# Options of which each takes the place of the others.
RIVALS = ({"hard", "soft", "softerr"}, {"ro", "rw"}, {"vers", "nfsvers"})
SECRETS = {"user", "username", "pass", "password", "password2", "cred", "credentials", "dom", "domain"}

MARK = "# Written by the role nas_mounts.\n"
# After five failures within ten seconds systemd would take the automount away for good: a NAS that refuses while it
# starts is enough. Then everybody would see the bare directory, until somebody comes to start it again.
MOUNT = """{mark}[Unit]
StartLimitIntervalSec=0

[Mount]
What={what}
Where={where}
Type={kind}
Options={options}
TimeoutSec=15
"""
AUTOMOUNT = "{mark}[Automount]\nWhere={where}\n"

NFS_SOURCE = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^\s:/\[\]]+):(/\S.*|/)")
SMB_SOURCE = re.compile(r"//([^\s/]+)/[^/].*")


class NasError(Exception):
    """The list cannot be followed; the text says which entry, why, and what would do."""


class Entry(NamedTuple):
    """One share that shall be mounted; `kind` is the file system, `credentials` the text of a file if it has any."""

    path: str
    source: str
    kind: str
    options: str
    server: str
    credentials: str | None

    @property
    def port(self) -> int:
        return PORTS[self.kind]


def read(params: list[dict[str, Any]], ids: Callable[[str], tuple[int, int]]) -> list[Entry]:
    """The shares that shall be mounted; `ids` tells the numbers of an account and its group."""
    for one in params:
        _check_path(one["path"])
    _check_together([one["path"] for one in params])
    return [_entry(one, ids) for one in params if one["state"] == "present"]


def _entry(one: dict[str, Any], ids: Callable[[str], tuple[int, int]]) -> Entry:
    kind = {"nfs": "nfs4", "smb": "cifs"}[one["protocol"]]
    server = server_of(one["source"] or "", kind)
    if server is None:
        desired = {"nfs4": "`server:/directory`", "cifs": "`//server/share`"}[kind]
        raise NasError(f"{one['path']}: `source` is {one['source']!r}; {one['protocol']} wants {desired}")
    if re.search(r"[\0\r\n]|[\s\\]$", one["source"]):
        raise NasError(
            f"{one['path']}: `source` is {one['source']!r}; it has to be one line without a blank at its end"
        )
    return Entry(one["path"], one["source"], kind, options_of(one, kind, ids), server, _credentials(one))


def options_of(one: dict[str, Any], kind: str, ids: Callable[[str], tuple[int, int]]) -> str:
    """The options of the mount. What the user says takes the place of what the profile would say."""
    for option in one["options"]:
        if not option or re.search(r"[,\s]", option):
            raise NasError(f"{one['path']}: {option!r} is not one option; give each as an item of its own")
        if option.startswith("x-systemd."):
            raise NasError(f"{one['path']}: `{_name(option)}` is for fstab, in which shares are not listed")
        if _name(option) in SECRETS:
            raise NasError(
                f"{one['path']}: `{_name(option)}` would be read by everybody; say `username`, "
                "`password` and `domain` beside the options"
            )
    patience = WAIT if one["profile"] == "data" else FAIL
    standard = [*COMMON, *patience[kind], *(_smb(one, ids) if kind == "cifs" else _nfs(one))]
    own = {_name(option) for option in one["options"]}
    taken = own.union(*(rivals for rivals in RIVALS if rivals & own))
    return ",".join([*(option for option in standard if _name(option) not in taken), *one["options"]])


def _nfs(one: dict[str, Any]) -> tuple[str, ...]:
    for word in ("username", "password", "domain", "owner"):
        if one[word] is not None:
            raise NasError(f"{one['path']}: `{word}` is for smb; whose an NFS share is, its server decides")
    return ()


def _smb(one: dict[str, Any], ids: Callable[[str], tuple[int, int]]) -> tuple[str, ...]:
    uid, gid = ids(one["owner"] or "root")
    door = f"credentials={credentials_file(one['path'])}" if one["username"] else "guest"
    return (*SMB, f"uid={uid}", f"gid={gid}", door)


def _credentials(one: dict[str, Any]) -> str | None:
    """The text that mount.cifs reads: a value goes to the end of its line, whatever is in it."""
    if bool(one["username"]) != bool(one["password"]) or (one["domain"] and not one["username"]):
        raise NasError(f"{one['path']}: `username` and `password` belong together, and `domain` to them")
    given = {word: one[word] for word in ("username", "password", "domain") if one[word]}
    for word, value in given.items():
        if re.search(r"[\0\r\n]", value):
            raise NasError(f"{one['path']}: `{word}` has a line break, which SMB credentials cannot have")
    return "".join(f"{word}={value}\n" for word, value in given.items()) or None


def _check_path(path: str) -> None:
    if not path.startswith("/") or path == "/" or str(PurePosixPath(path)) != path or ".." in path.split("/"):
        raise NasError(f"`path` is {path!r}; it has to be absolute, without `..` and without a slash at its end")
    if re.search(r"[\0\r\n]|[\s\\]$", path):
        raise NasError(f"`path` is {path!r}; it has to be one line without a blank at its end")


def _check_together(paths: list[str]) -> None:
    for number, path in enumerate(paths):
        for other in paths[number + 1 :]:
            if path == other:
                raise NasError(f"{path} is listed twice")
            for outer, inner in ((path, other), (other, path)):
                if inner.startswith(f"{outer}/"):
                    raise NasError(f"{inner} lies beneath {outer}, so its mount point would be on another share")


def _name(option: str) -> str:
    return option.partition("=")[0]


def server_of(source: str, kind: str) -> str | None:
    """The name or address in a source, without the brackets of IPv6; `None` if that is no source."""
    match = {"nfs4": NFS_SOURCE, "cifs": SMB_SOURCE}[kind].fullmatch(source)
    return match[1].strip("[]") if match else None


def unit_name(path: str) -> str:
    """The name that systemd gives to a mount, without its suffix (`systemd-escape --path`)."""
    plain = path.strip("/")

    def escape(match: re.Match[str]) -> str:
        return "".join(f"\\x{byte:02x}" for byte in match[0].encode())

    name = re.sub(r"[^A-Za-z0-9:_./]", escape, plain)
    return re.sub(r"^\.", r"\\x2e", name).replace("/", "-")


def credentials_file(path: str) -> PurePosixPath:
    """A name of its own for each path, in letters that neither fstab nor systemd reads as something else."""
    name = re.sub(r"[^A-Za-z0-9/]", lambda match: "".join(f"_{b:02x}" for b in match[0].encode()), path.strip("/"))
    return CREDENTIALS / name.replace("/", "-")


def unescaped(word: str) -> str:
    """A field of fstab or of mountinfo as it was meant."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def mount_unit(entry: Entry) -> str:
    """The unit that mounts the share."""
    what, where, options = (word.replace("%", "%%") for word in (entry.source, entry.path, entry.options))
    return MOUNT.format(mark=MARK, what=what, where=where, kind=entry.kind, options=options)


def automount_unit(entry: Entry) -> str:
    """The unit that does so when the path is used."""
    return AUTOMOUNT.format(mark=MARK, where=entry.path.replace("%", "%%"))


def mounted_by(unit: str) -> tuple[str, tuple[str, int]] | None:
    """The path that a unit of ours mounts, with the server and the port it comes from; `None` for any other unit."""
    settings = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    if not unit.startswith(MARK) or settings.get("Type") not in PORTS:
        return None
    server = server_of(settings["What"].replace("%%", "%"), settings["Type"]) or ""
    return settings["Where"].replace("%%", "%"), (server, PORTS[settings["Type"]])
