"""Names of peers, looked up with an end to the waiting: a resolver that hangs must not hang the tunnel's care."""

from __future__ import annotations

from .errors import Trouble
from .process import run

SECONDS = 8.0


def resolve(name: str) -> list[str]:
    """Addresses of a name, the ones that this host can best reach first. Raises Trouble where there are none."""
    try:
        done = run(["getent", "ahosts", name], seconds=SECONDS)
    except Trouble:
        raise Trouble(f"no resolver has answered for {name} within {SECONDS:.0f} s", "cat /etc/resolv.conf") from None
    found = list(dict.fromkeys(line.split()[0] for line in done.out.splitlines() if line.strip()))
    if not found:
        raise Trouble(f"{name} has no address", f"getent ahosts {name}; cat /etc/resolv.conf")
    return found
