"""The programs that are asked here are quick."""

from __future__ import annotations

from collections.abc import Sequence

from homelab_host.errors import Trouble
from homelab_host.process import Finished, run_within

SECONDS = 15.0


def run(argv: Sequence[str], *, feed: str = "", seconds: float = SECONDS) -> Finished:
    """Run a program to its end; what its status means is the caller's business. Raises Trouble where it never ends."""
    return run_within(argv, feed=feed, seconds=seconds)


def must(argv: Sequence[str], *, feed: str = "", seconds: float = SECONDS) -> str:
    """What a program prints that has to succeed. Raises Trouble with its last word."""
    done = run(argv, feed=feed, seconds=seconds)
    if done.status:
        raise Trouble(f"`{' '.join(argv)}`: {done.last_word}")
    return done.out
