"""Names of peers, looked up with an end to the waiting: a resolver that hangs must not hang the tunnel's care."""

from __future__ import annotations

from homelab_host.errors import Trouble

from .config import Endpoint
from .memory import Memory
from .process import run

SECONDS = 8.0
# What a name led to the last time that it led anywhere.
KNOWN = "endpoints"


def find(endpoint: Endpoint, memory: Memory) -> list[str]:
    """Addresses of an endpoint, the best first, which is remembered. Raises Trouble where there are none."""
    if endpoint.address:
        return [endpoint.address]
    found = resolve(endpoint.host)
    if (known := memory.recall(KNOWN)).get(endpoint.host) != found[0]:
        memory.keep(KNOWN, known | {endpoint.host: found[0]})
    return found


def last(endpoint: Endpoint, memory: Memory) -> str | None:
    """Where it was the last time."""
    return memory.recall(KNOWN).get(endpoint.host)


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
