"""What the ways have in common that go through a system that still lives on the machine.

The old system's disk and memory are no place for the site's rescue key: what is laid there has a key of its own, made
for this start.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.doors.ssh import Answer
from homelab_provision.errors import ProvisionError
from homelab_provision.identity.identities import new_key
from homelab_provision.image.medium import HostKey
from homelab_provision.ways import Start

DEADLINE = 300.0
NOBODY = "only a system that is on it and lets us in can prepare that, and none answers"


@dataclass(frozen=True)
class Brought:
    """It shows the key that was made for it; how far it has come nobody sees, but what to do if it does not come."""

    public: str
    otherwise: str

    def host_key(self) -> str:
        return self.public

    def progress(self) -> str:
        return self.otherwise


def new_host_key() -> HostKey:
    """A host key for one start."""
    made = new_key("rescue")
    return HostKey(made.private, made.public)


def packed(files: Mapping[str, bytes | Path]) -> bytes:
    """Files by their names as a tar archive."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def hand_over(start: Start, program: list[str], archive: bytes) -> None:
    """Run a program on the old system with an archive as its input. Raises `ProvisionError` with what it said."""
    done = start.ssh.run(start.system, *program, deadline=DEADLINE, input=archive, check=False)
    if done.returncode != 0:
        raise ProvisionError(
            f"{start.machine.name} cannot be told to start the rescue: {done.stderr.strip() or 'it did not say why'}",
            hint="what it starts by itself was not changed. Begin anew in another way: `--way usb`, `--way netboot`",
        )


def restart(start: Start, command: str) -> None:
    """Have the old system end itself. It cuts its own connection, so how this ends says nothing."""
    script = f"(sleep 0.5; {command}) </dev/null >/dev/null 2>&1 &"
    start.ssh.run(start.system, "sh", "-c", script, deadline=20, check=False)
    start.ssh.forget(start.system)


@contextmanager
def taken_back(start: Start, program: list[str]) -> Iterator[None]:
    """Where the start fails, and the old system answers, still or again: have it take back what it was handed."""
    try:
        yield
    except BaseException:
        with suppress(ProvisionError):
            if start.ssh.answer(start.system) is Answer.OURS:
                start.ssh.run(start.system, *program, deadline=DEADLINE, check=False)
        raise
