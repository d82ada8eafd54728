"""Let go of the shares whose NAS does not answer, whoever mounted them; what they had not written yet is lost.

Those, too, that were taken off the tree while a program had a file open: no mount tells of them, and they still wait.

Nobody who waits for such a share can be ended, nor can it be unmounted, and `sync` waits for what was written to it.
NFS has a switch for this (`/sys/fs/nfs/<device>/shutdown`, since Linux 6.5): every request fails from then on, those
under way as well as those to come. `umount --force` alone fails only the former, and the next one waits again.
"""

from __future__ import annotations

import contextlib
import json
import re
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
# Of each NFS that is in use: its switch, and by way of `nfs_client` the connection that it goes over.
SWITCHES = Path("/sys/fs/nfs")
# What a NAS that lives had still to be told would be lost, so one lost packet does not decide: at most 15 seconds.
TRIES, PAUSE = 3, 2.0


@dataclass(frozen=True)
class Share:
    """A share that is in use; `device` is the kernel's number for it, as in `0:57`. Off the tree it has no path."""

    device: str
    server: Server
    path: str | None = None


def main() -> int:
    shares = list(mounted(_findmnt()))
    shares += unmounted(without={share.device for share in shares})
    dead = silent({share.server for share in shares})
    let_go([share for share in shares if share.server in dead])
    return 0


def mounted(listed: Mapping[str, Any]) -> Iterator[Share]:
    """The shares in what `findmnt` says. Their address is the kernel's, so no name has to be looked up."""
    for one in listed.get("filesystems", ()):
        options = dict(option.partition("=")[::2] for option in one["options"].split(","))
        if address := options.get("addr"):
            port = int(options.get("port") or 0) or PORTS[one["fstype"]]
            yield Share(one["maj:min"].strip(), (address, port), one["target"])


def unmounted(*, without: Collection[str]) -> Iterator[Share]:
    """The NFS of the kernel but for the devices in `without`. A connection that is closed no longer tells its port."""
    for device in sorted(SWITCHES.glob("[0-9]*:*")):
        connections = sorted(device.glob("nfs_client/switch/xprt-*")) if device.name not in without else []
        with contextlib.suppress(OSError):  # it went away meanwhile
            for connection in connections[:1]:
                port = re.search(r"^dst_port=(\d+)$", (connection / "xprt_info").read_text(), re.MULTILINE)
                address = (connection / "dstaddr").read_text().strip()
                yield Share(device.name, (address, int(port[1]) if port else PORTS["nfs4"]))


def silent(servers: Collection[Server]) -> set[Server]:
    """The servers that answered at none of three tries."""
    left = set(servers)
    for number in range(TRIES):
        left = {server for server, answers in time_limits.probe(left).items() if not answers}
        if left and number < TRIES - 1:
            time.sleep(PAUSE)
    return left


def let_go(shares: list[Share]) -> None:
    """Fail all requests, then take the shares off the tree, the innermost first."""
    for share in shares:
        name = share.path or f"{share.device}, mounted no more"
        print(f"{name}: {share.server[0]} does not answer at port {share.server[1]}, letting go", flush=True)
        with contextlib.suppress(OSError):  # SMB has no such switch
            (SWITCHES / share.device / "shutdown").write_text("1")
    for path in (share.path for share in reversed(shares) if share.path):
        time_limits.run([*DETACH, path], DETACH_SECONDS)


def _findmnt() -> dict[str, Any]:
    """What is mounted from elsewhere; `findmnt` says nothing at all if there is nothing."""
    text = subprocess.run([*FINDMNT, ",".join(COLUMNS)], stdout=subprocess.PIPE, text=True, check=False).stdout
    answer: dict[str, Any] = json.loads(text or "{}")
    return answer


if __name__ == "__main__":
    sys.exit(main())
