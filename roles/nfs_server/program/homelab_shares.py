"""What other hosts keep here: how much of it there may be, and copies of it that none of them can delete.

    homelab-shares limit                                  as listed in /etc/homelab-provision/shares.json
    homelab-shares snapshot                               a copy of each share that is to have some
    homelab-shares list                                   the copies that there are
    homelab-shares put-back /srv/backup/db-wyse latest    a share as it was in a copy

Copies lie below /srv/snapshots, in directories named after their time (UTC). What did not change since the one before
is the same file (a hard link), so a copy costs what is new. They belong to root, and nobody else reads or writes them:
an NFS client may guess a file's handle, and then only the file's own mode stands in its way.

A share's content belongs to hosts that may have been taken over. Nothing here follows a symbolic link of theirs: the
kernel refuses to, on a mount of its own (`nosymfollow`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from homelab_host.disk_space import shown
from homelab_host.errors import Trouble
from homelab_host.lock import alone

SETTINGS = Path("/etc/homelab-provision/shares.json")
SRV = Path("/srv")
SNAPSHOTS = SRV / "snapshots"
LOCK = Path("/run/homelab-shares.lock")
HERE = Path("/run/homelab-shares")
OWNER = "nas"
STAMP = "%Y-%m-%dT%H%M%SZ"
UNFINISHED = ".new"
# Of the file system, what a copy must leave free: hosts go on writing meanwhile.
SPARE = 0.05
# Mount a directory where no link is followed, in a mount namespace of its own, and run a command there.
WITHOUT_LINKS = f"""
mount --bind "$1" {HERE}
mount -o "remount,bind,nosymfollow,nosuid,nodev,$2" {HERE}
shift 2
exec "$@"
"""
_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


@dataclass(frozen=True)
class Share:
    """A directory for another host: `limit` in bytes (0: none), `days` for which its copies are kept (0: no copies)."""

    path: Path
    limit: int = 0
    days: int = 0

    @property
    def project(self) -> int:
        """The number under which the file system counts what lies in it: always the same for one path, never 0."""
        return zlib.crc32(str(self.path).encode()) % (2**31 - 1) + 1

    @property
    def snapshots(self) -> Path:
        return SNAPSHOTS / self.path.relative_to(SRV)

    def finished(self) -> list[Path]:
        """The whole copies, oldest first."""
        if not self.snapshots.is_dir():
            return []
        return sorted(each for each in self.snapshots.iterdir() if _moment(each.name))


def main(words: Sequence[str]) -> int:
    try:
        asked = _parser().parse_args(words)
        shares = load(SETTINGS)
        with alone(LOCK):
            match asked.job:
                case "limit":
                    each_of(shares if quotas(shares) else [], limit)
                case "snapshot":
                    each_of([share for share in shares if share.days], lambda share: print(take(share)))
                case "list":
                    for share in shares:
                        for each in share.finished():
                            print(f"{share.path} {each.name}")
                case "put-back":
                    put_back(_share(shares, asked.share), asked.snapshot)
    except Trouble as trouble:
        print(f"homelab-shares: {trouble}", file=sys.stderr)
        return 1
    return 0


def each_of(shares: Sequence[Share], do: Callable[[Share], object]) -> None:
    """Do it for each: what one host has done to its share costs the others nothing. Raises `Trouble` at the end."""
    wrong = []
    for share in shares:
        try:
            do(share)
        except Trouble as trouble:
            wrong.append(f"{share.path}: {trouble}")
    if wrong:
        raise Trouble("\n".join(wrong))


def load(settings: Path) -> list[Share]:
    """The shares as the role has written them down. Raises `Trouble`."""
    try:
        written = json.loads(settings.read_text())
        shares = [Share(Path(one["path"]), size(one.get("size", "")), int(one.get("snapshots", 0))) for one in written]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Trouble(f"{settings} cannot be understood ({error}); `provision apply` writes it anew") from None
    numbers: dict[int, Share] = {}
    for share in shares:
        other = numbers.setdefault(share.project, share)
        if other != share:
            raise Trouble(f"{share.path} and {other.path} would be counted together (by chance): rename one of them")
    return shares


def size(text: str) -> int:
    """The bytes that "200 GB" or "14 GiB" means; "" is 0."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text) if text else None
    if text and (found is None or found[2].upper() not in _UNITS):
        raise Trouble(f"{text!r} is no size such as 200 GB (10⁹ bytes) or 200 GiB (2³⁰ bytes)")
    return int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0


# ---- limits --------------------------------------------------------------------------------------------------


def quotas(shares: Sequence[Share]) -> bool:
    """See that the file system holds projects to their limits; raises `Trouble` if it cannot and has to."""
    device, kind = run("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE", "--target", SRV).split()
    if kind != "ext4" or not {"project", "quota"} <= features(device):
        if any(share.limit for share in shares):
            raise Trouble(
                f"{SRV} ({device}) was made without project quotas, so nothing limits what a host fills. Make it anew "
                f"(a rebuild without --keep-data), or here, with everything that uses it stopped: `umount {SRV}; "
                f"e2fsck -f {device}; tune2fs -O project,quota -Q prjquota {device}; mount {SRV}`"
            )
        return False
    try:
        run("quotaon", "--project", SRV)
    except Trouble as trouble:
        if "File exists" not in str(trouble):  # on already: its state does not tell that from counting
            raise
    return True


def limit(share: Share) -> None:
    """Count what lies in a share, and hold it to its limit; one that has none any more is set free."""
    number = str(share.project)
    if share.limit and project_of(share.path) != share.project:
        # What lies in it first, and the directory last: it tells that all the rest is done.
        for kind, flag in (("d", ("+P",)), ("f", ())):
            within(share.path, "rw", "find", HERE, "-mindepth", "1", "-type", kind, "-exec",
                   "chattr", *flag, "-p", number, "{}", "+")  # fmt: skip
        within(share.path, "rw", "chattr", "+P", "-p", number, HERE)
    if share.limit or project_of(share.path) == share.project:
        run("setquota", "--project", number, "0", str(-(-share.limit // 1024)), "0", "0", SRV)


def features(device: str) -> set[str]:
    """What an ext4 file system was made with."""
    for line in run("dumpe2fs", "-h", device).splitlines():
        if line.startswith("Filesystem features:"):
            return set(line.split(":", 1)[1].split())
    return set()


def project_of(path: Path) -> int:
    return int(run("lsattr", "-p", "-d", path).split()[0])


# ---- copies --------------------------------------------------------------------------------------------------


def take(share: Share) -> Path:
    """Make a copy of a share, and let go of those that are too old. Raises `Trouble`; then no copy was removed."""
    now = datetime.now(UTC)
    before = share.finished()
    draft = share.snapshots / UNFINISHED
    for folder in (SNAPSHOTS, *reversed(list(_between(draft)))):
        folder.mkdir(mode=0o700, exist_ok=True)
    words = ["rsync", "--archive", "--hard-links", "--delete", "--numeric-ids", "--chown=root:root", "--chmod=go-rwx",
             *(f"--link-dest={each}" for each in before[-1:])]  # fmt: skip
    output = within(share.path, "ro", *words, "--dry-run", "--stats", f"{HERE}/", f"{draft}/")
    new = int(re.sub(r"[^0-9]", "", re.findall(r"Total transferred file size: ([0-9.,]+)", output)[0]))
    room = os.statvfs(SNAPSHOTS)
    free, spare = room.f_bavail * room.f_frsize, int(room.f_blocks * room.f_frsize * SPARE)
    if free - new < spare:
        raise Trouble(
            f"no copy was made: it needs {shown(new)}, and {shown(free)} are free of which {shown(spare)} "
            "have to stay. Limit the share (`size`), keep copies for fewer days (`snapshots`), or remove old ones in "
            f"{SNAPSHOTS}"
        )
    within(share.path, "ro", *words, f"{HERE}/", f"{draft}/")
    os.sync()
    made = share.snapshots / now.strftime(STAMP)
    try:
        draft.rename(made)
    except OSError as error:
        raise Trouble(f"{made}: {error.strerror}; there is a copy of that second already") from None
    for each in expired(share, now):
        # Out of the way first: half a copy is none.
        away = each.with_name(".old")
        shutil.rmtree(away, ignore_errors=True)
        each.rename(away)
        shutil.rmtree(away)
    return made


def expired(share: Share, now: datetime) -> list[Path]:
    """The copies that are too old, but never so many that fewer than `days` newer ones stay: a clock that is wrong by
    years costs none."""
    old = share.finished()[: -share.days]
    return [each for each in old if (_moment(each.name) or now) < now - timedelta(days=share.days)]


def put_back(share: Share, name: str) -> None:
    """Make a share what it was in a copy: what came later is gone from it, and stays in the copies. Owner and modes
    become those that the share's clients write with."""
    there = share.finished()
    desired = there[-1:] if name == "latest" else [each for each in there if each.name == name]
    if not desired:
        raise Trouble(f"{share.path} has no copy {name}; it has {', '.join(each.name for each in there) or 'none'}")
    within(share.path, "rw", "rsync", "--archive", "--hard-links", "--delete", "--numeric-ids",
           f"--chown={OWNER}:{OWNER}", "--chmod=Dg=rx,Fg=r", f"{desired[0]}/", f"{HERE}/")  # fmt: skip
    os.sync()
    print(f"{share.path} is what it was in {desired[0]}")


def _between(path: Path) -> Iterator[Path]:
    """The directories from `path` up to, and without, that of all snapshots."""
    while path != SNAPSHOTS:
        yield path
        path = path.parent


def _moment(name: str) -> datetime | None:
    try:
        return datetime.strptime(name, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


# ---- programs ------------------------------------------------------------------------------------------------


def within(directory: Path, access: str, *argv: str | Path) -> str:
    """Run a command that finds `directory` at `HERE`, where no symbolic link is followed."""
    HERE.mkdir(mode=0o700, exist_ok=True)
    return run("unshare", "--mount", "--propagation", "private", "sh", "-euc", WITHOUT_LINKS, "sh", directory, access,
               *argv)  # fmt: skip


def run(*argv: str | Path, fine: tuple[int, ...] = (0,)) -> str:
    """Run a program and return what it prints. Raises `Trouble` with its last words."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise Trouble(f"{words[0]}: {error.strerror}") from None
    if done.returncode not in fine:
        name = next((word for word in words if word in ("rsync", "chattr", "find")), words[0])
        raise Trouble(f"{name} failed ({done.returncode}): {done.stderr.strip()[-1000:]}")
    return done.stdout


def _share(shares: Sequence[Share], path: Path) -> Share:
    for share in shares:
        if share.path == path:
            return share
    raise Trouble(f"{path} is no share; there are {', '.join(str(share.path) for share in shares) or 'none'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homelab-shares",
        description="What other hosts keep here: limits, and copies that they cannot delete.",
        epilog="example: homelab-shares put-back /srv/backup/db-wyse latest",
    )
    jobs = parser.add_subparsers(dest="job", required=True, metavar="COMMAND")
    jobs.add_parser("limit", help=f"hold each share to the size that {SETTINGS} names")
    jobs.add_parser("snapshot", help="make a copy of each share that is to have some")
    jobs.add_parser("list", help="show the copies")
    one = jobs.add_parser("put-back", help="make a share what it was in a copy; stop its host's services before")
    one.add_argument("share", type=Path, help="such as /srv/backup/db-wyse")
    one.add_argument("snapshot", help="a name that `list` shows, or `latest`")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
