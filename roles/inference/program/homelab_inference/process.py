"""The only door to other programs: none is waited for without an end, none sees the caller's environment."""

from __future__ import annotations

import grp
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from .errors import Trouble

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
}
NOBODY = 65534


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return "\n".join(lines[-5:]) or f"exit status {self.status}"


def run(argv: Sequence[str | Path], *, seconds: float) -> Done:
    """Run a program to its end; what its status means is the caller's business. Raises Trouble where it never ends."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        raise Trouble(f"`{' '.join(words)}` has not ended within {seconds:.0f} s") from None
    except OSError as error:
        raise Trouble(f"`{words[0]}` cannot be run: {error.strerror}") from None
    return Done(done.returncode, done.stdout, done.stderr)


def start_as_nobody(
    argv: Sequence[str | Path],
    log: IO[bytes],
    groups: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    """Start a program that may do nothing here but read what all may read, and that ends when this one does.

    `groups` let it have more: who may use the GPU.
    """
    words = ["setpriv", "--pdeathsig=KILL", "--no-new-privs", "--", *(str(word) for word in argv)]
    ids: dict[str, Any] = {}
    if os.geteuid() == 0:
        more = [each.gr_gid for each in grp.getgrall() if each.gr_name in groups]
        ids = {"user": NOBODY, "group": NOBODY, "extra_groups": more}
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd="/",
        umask=0o077,
        env={**ENVIRONMENT, **environment},
        start_new_session=True,
        **ids,
    )
