"""An archive from elsewhere, laid into a folder of its own, and nowhere else."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

from homelab_host.errors import Trouble

# What a build of llama.cpp with all its libraries may be at most; the largest known (with ROCm in it) is about 2 GB.
MOST_BYTES, MOST_FILES = 16 << 30, 100_000


def unpack(archive: Path, folder: Path) -> None:
    """Unpack into an empty folder. Where a file would lie, or lead, elsewhere, none is written: Trouble."""
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            _check(members)
            for member in members:
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                # Like what a package installs: root's, and nothing that gives other rights.
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            tar.extractall(folder, members, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Trouble(f"the archive {archive.name} cannot be unpacked: {error}") from None


def _check(members: list[tarfile.TarInfo]) -> None:
    if len(members) > MOST_FILES or sum(member.size for member in members) > MOST_BYTES:
        raise Trouble("the archive holds far more than a build of llama.cpp")
    # Where a link of the archive stands, nothing may be written through it.
    links = {_parts(member.name) for member in members if member.issym()}
    for member in members:
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise _outside(member, "is neither file, folder nor link")
        parts = _parts(member.name)
        if any(parts[:length] in links for length in range(1, len(parts))):
            raise _outside(member, "lies behind a link")
        if member.islnk():
            _parts(member.linkname)
        if member.issym():
            _follow(member, parts)


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise Trouble(f"the archive has the name {name!r}, which leads out of its folder: nothing was unpacked")
    return path.parts


def _follow(member: tarfile.TarInfo, parts: tuple[str, ...]) -> None:
    """Where a link leads has to be within, step by step."""
    target = PurePosixPath(member.linkname)
    if target.is_absolute():
        raise _outside(member, f"leads to {member.linkname}")
    depth = len(parts) - 1
    for step in target.parts:
        depth += -1 if step == ".." else 1
        if depth < 0:
            raise _outside(member, f"leads to {member.linkname}")


def _outside(member: tarfile.TarInfo, why: str) -> Trouble:
    return Trouble(f"the archive's {member.name!r} {why}: nothing was unpacked")
