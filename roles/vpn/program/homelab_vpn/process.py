"""The only door to other programs: none of them is waited for without an end, and no secret is among their words."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import Trouble

SECONDS = 15.0
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def last_word(self) -> str:
        lines = (self.err or self.out).strip().splitlines()
        return lines[-1] if lines else f"exit status {self.status}"


def run(argv: Sequence[str], *, feed: str = "", seconds: float = SECONDS) -> Done:
    """Run a program to its end; what its status means is the caller's business. Raises Trouble where it never ends."""
    try:
        done = subprocess.run(
            argv, input=feed, capture_output=True, text=True, timeout=seconds, check=False, env=ENVIRONMENT
        )
    except subprocess.TimeoutExpired:
        raise Trouble(f"`{' '.join(argv)}` has not ended within {seconds:.0f} s") from None
    except FileNotFoundError:
        raise Trouble(f"there is no program `{argv[0]}`", "play the role `vpn` on this host again") from None
    return Done(done.returncode, done.stdout, done.stderr)


def must(argv: Sequence[str], *, feed: str = "", seconds: float = SECONDS) -> str:
    """What a program prints that has to succeed. Raises Trouble with its last word."""
    done = run(argv, feed=feed, seconds=seconds)
    if done.status:
        raise Trouble(f"`{' '.join(argv)}`: {done.last_word}")
    return done.out
