"""Let go of the shares whose NAS does not answer, whoever mounted them; what they had not written yet is lost.

Nobody who waits for such a share can be ended, nor can it be unmounted, and `sync` waits for what was written to it.
NFS has a switch for this (`/sys/fs/nfs/<device>/shutdown`, since Linux 6.5): every request fails from then on, those
under way as well as those to come. `umount --force` alone fails only the former, and the next one waits again.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import time_limits
from .time_limits import Server

PORTS = {"nfs": 2049, "nfs4": 2049, "cifs": 445, "smb3": 445}
# The kernel's own list: no file system is touched.
FINDMNT = ["findmnt", "--kernel", "--json", "--list", "--types", ",".join(PORTS), "--output"]
COLUMNS = ["target", "maj:min", "fstype", "options"]
DETACH = ["umount", "--no-canonicalize", "--internal-only", "--force", "--lazy"]
DETACH_SECONDS = 5
SWITCHES = Path("/sys/fs/nfs")
# What a NAS that lives had still to be told would be lost, so one lost packet does not decide: at most 15 seconds.
TRIES, PAUSE = 3, 2.0


@dataclass(frozen=True)
class Mount:
    """A share that is mounted; `device` is the kernel's number for it, as in `0:57`."""

    path: str
    device: str
    server: Server


def main() -> int:
    mounts = list(mounted(_findmnt()))
    dead = silent({mount.server for mount in mounts})
    let_go([mount for mount in mounts if mount.server in dead])
    return 0


def mounted(listed: Mapping[str, Any]) -> Iterator[Mount]:
    """The shares in what `findmnt` says. Their address is the kernel's, so no name has to be looked up."""
    for one in listed.get("filesystems", ()):
        options = dict(option.partition("=")[::2] for option in one["options"].split(","))
        if address := options.get("addr"):
            port = int(options.get("port") or 0) or PORTS[one["fstype"]]
            yield Mount(one["target"], one["maj:min"].strip(), (address, port))


def silent(servers: Collection[Server]) -> set[Server]:
    """The servers that answered at none of three tries."""
    left = set(servers)
    for number in range(TRIES):
        left = {server for server, answers in time_limits.probe(left).items() if not answers}
        if left and number < TRIES - 1:
            time.sleep(PAUSE)
    return left


def let_go(mounts: list[Mount]) -> None:
    """Fail all requests, then take the shares off the tree, the innermost first."""
    for mount in mounts:
        print(f"{mount.path}: {mount.server[0]} does not answer at port {mount.server[1]}, letting go", flush=True)
        with contextlib.suppress(OSError):  # SMB has no such switch
            (SWITCHES / mount.device / "shutdown").write_text("1")
    for mount in reversed(mounts):
        time_limits.run([*DETACH, mount.path], DETACH_SECONDS)


def _findmnt() -> dict[str, Any]:
    """What is mounted from elsewhere; `findmnt` says nothing at all if there is nothing."""
    text = subprocess.run([*FINDMNT, ",".join(COLUMNS)], stdout=subprocess.PIPE, text=True, check=False).stdout
    answer: dict[str, Any] = json.loads(text or "{}")
    return answer


if __name__ == "__main__":
    sys.exit(main())
