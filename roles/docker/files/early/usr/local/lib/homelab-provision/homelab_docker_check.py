"""Refuse a daemon.json that dockerd would not start with, or whose networks meet one that this host can reach.

A container network that takes the addresses of the LAN cuts the host off from it, from the moment it is made.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from pathlib import Path

# What Docker makes itself lies in the pools, of course.
OWN = ("docker", "br-", "veth")


def routes() -> list[tuple[str, str]]:
    """Networks that the host has a way to, other than the default, each with its interface."""
    found = []
    for family in ("-4", "-6"):
        shown = subprocess.run(
            ["ip", "-json", family, "route", "show"], check=True, capture_output=True, text=True, timeout=20
        )
        found += [(route["dst"], route.get("dev", "")) for route in json.loads(shown.stdout or "[]")]
    return [(target, device) for target, device in found if target != "default" and not device.startswith(OWN)]


def clashes(pools: list[dict[str, object]], reachable: list[tuple[str, str]]) -> list[str]:
    answer = []
    for pool in pools:
        base = ipaddress.ip_network(str(pool["base"]))
        for target, device in reachable:
            other = ipaddress.ip_network(target, strict=False)
            if base.version == other.version and base.overlaps(other):
                answer.append(f"{base} meets {other}, which this host reaches through {device}")
    return answer


def main(file: str) -> str | None:
    words = ["dockerd", "--validate", "--config-file", file]
    accepted = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if accepted.returncode:
        return (accepted.stderr or accepted.stdout).strip().splitlines()[-1]
    pools = json.loads(Path(file).read_text()).get("default-address-pools", [])
    try:
        found = clashes(pools, routes())
    except ValueError as error:
        return f"docker_address_pools: {error}"
    return "docker_address_pools: " + "; ".join(found) + ": choose another range" if found else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
