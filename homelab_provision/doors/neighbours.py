"""Who else is on this wire, and which SSH host keys do they show? Nobody is logged in to, and nothing is told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from homelab_provision.doors.process import run
from homelab_provision.doors.ssh import Door
from homelab_provision.errors import ProvisionError

ECHO = Path(__file__).with_name("echo.py")
KEY_SECONDS = 5


def neighbours(door: Door, link: str) -> tuple[str, ...]:
    """The IPv6 link-local addresses of everybody who answers on a link. Raises ProvisionError if none can be asked."""
    asked = run([*door.prefix, sys.executable, "-P", ECHO, link], deadline=20, check=False)
    if asked.returncode != 0:
        raise ProvisionError(
            f"nobody can be asked for an echo on {link}",
            evidence=asked.stderr,
            hint="the rescue shows its addresses on its screen: name one with `--address ADDRESS`",
        )
    return tuple(asked.stdout.split())


def shown_keys(door: Door, addresses: Sequence[str]) -> dict[str, str]:
    """The Ed25519 host key (`ssh-ed25519 AAAA…`) that each of these addresses shows, all asked at once. Who shows none
    is not in it."""
    if not addresses:
        return {}
    scan = ["ssh-keyscan", "-T", str(KEY_SECONDS), "-t", "ed25519", *addresses]
    shown = run([*door.prefix, *scan], deadline=KEY_SECONDS * 2 + 10 + len(addresses), check=False).stdout
    lines = [line.split(" ", 1) for line in shown.splitlines() if " ssh-ed25519 " in line]
    # At another port than 22, `[address]:port`.
    return {address.lstrip("[").partition("]")[0]: key.strip() for address, key in lines}
