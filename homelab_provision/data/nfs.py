"""Look into an NFS export without mounting it.

libnfs speaks the protocol, so neither a kernel module nor root is needed; in a lab it does so from inside the network.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from homelab_provision.doors.process import ProcessError, run
from homelab_provision.doors.ssh import Door
from homelab_provision.errors import ProvisionError

PORT = 2049
DEADLINE = 60.0
# A server on the same wire answers within milliseconds, or not at all.
PROBE_SECONDS = 3
# A server that wants to be asked again: somebody has to give back first what it was allowed to keep, as a host that has
# just written does, or it has only started (RFC 7530, 13.1). A mounted NFS asks by itself, libnfs does not.
LATER = re.compile(r"NFS4ERR_(DELAY|GRACE)\b")
LATER_SECONDS, PAUSE = 120.0, 1.0
# `-rw-r-----  1  2049  2049   1190802 a.out`, as nfs-ls prints it.
_ENTRY = re.compile(r"(?P<type>[-dlcbps])[-rwxsStT]{9}\s+\d+\s+\d+\s+\d+\s+(?P<size>\d+) (?P<name>.+)")


class NfsError(ProvisionError):
    """The server does not answer, or does not let us look."""


@dataclass(frozen=True)
class Export:
    """A directory of an NFS server (version 4)."""

    server: str
    path: str
    door: Door

    def __str__(self) -> str:
        return f"{self.server}:{self.path}"

    def sizes(self) -> dict[str, int]:
        """Every file below the directory: path from there → size in bytes."""
        self._probe()
        return dict(parse_listing(self._run("nfs-ls", "-R", "")))

    def read(self, name: str) -> str:
        """The text of a file."""
        return self._run("nfs-cat", name)

    def _run(self, program: str, *words: str) -> str:
        *options, name = words
        url = f"nfs://{self.server}{PurePosixPath(self.path) / name}?version=4"
        give_up = time.monotonic() + LATER_SECONDS
        while True:
            try:
                return run([*self.door.prefix, program, *options, url], deadline=DEADLINE).stdout
            except ProcessError as error:
                if error.returncode == 127:
                    raise
                if LATER.search(error.stderr) and time.monotonic() < give_up:
                    time.sleep(PAUSE)
                    continue
                raise NfsError(
                    f"{self} does not let us look",
                    evidence=error.evidence,
                    hint="does the NAS export it to this computer, for reading?",
                ) from None

    def _probe(self) -> None:
        # libnfs waits for minutes where nobody is.
        probe = [*self.door.prefix, "nc", "-z", "-w", str(PROBE_SECONDS), self.server, str(PORT)]
        if run(probe, deadline=PROBE_SECONDS + 10, check=False).returncode:
            raise NfsError(f"{self.server} does not answer (NFS, port {PORT})", hint="is the NAS on?")


def parse_listing(text: str) -> Iterator[tuple[str, int]]:
    """The files, with their sizes, in what `nfs-ls -R` prints."""
    for line in text.splitlines():
        if (found := _ENTRY.fullmatch(line)) and found["type"] == "-":
            yield found["name"], int(found["size"])
