"""Take floating addresses off this host when keepalived ended without doing so.

One that was killed leaves them where they are, and while it is not back two hosts answer for one address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from homelab_host.process import run_within

from homelab_floating.settings import Name


def release(names: Iterable[Name]) -> None:
    for device, address in left(names, json.loads(_ip("-json", "address", "show") or "[]")):
        print(f"{address} is taken off {device}: keepalived has left it there", flush=True)
        _ip("address", "del", address, "dev", device)


def left(names: Iterable[Name], links: list[dict[str, object]]) -> list[tuple[str, str]]:
    """The interfaces and addresses, as `ip -json address show` tells them, that are of these names."""
    floating = {address for name in names for address in name.addresses}
    found = []
    for link in links:
        infos = link.get("addr_info")
        for info in infos if isinstance(infos, list) else []:
            address = f"{info.get('local')}/{info.get('prefixlen')}"
            if address in floating:
                found.append((str(link["ifname"]), address))
    return found


def _ip(*words: str) -> str:
    return run_within(["ip", *words], seconds=10).out
