"""Packets that are too large for the way, which nobody says: small ones get through, and everything else hangs."""

from __future__ import annotations

import ipaddress
import time
from typing import Any, Protocol

from . import host, ping
from .config import Config

# Sizes of packets in the tunnel, in bytes, from what an Ethernet has room for to the least that IPv6 takes.
SIZES = (1420, 1412, 1400, 1380, 1360, 1340, 1320, 1300, 1280)
# Every so many seconds it is looked at, and every so many it is tried whether the way has become better.
PACE, AGAIN = 60.0, 3600.0


class Repairs(Protocol):
    repairs: list[tuple[str, str]]
    troubles: dict[str, str]


def look(config: Config, probe: str, lowered: int | None, kept: dict[str, Any], report: Repairs) -> int | None:
    """The size that packets have from now on, if it is another than the configured one; `kept` is remembered."""
    now = time.monotonic()
    asked, since = float(kept.get("mtu_asked", 0)), float(kept.get("mtu_since", 0))
    # After a start of the host its clock begins anew.
    if 0 <= now - asked < PACE and not (lowered and now - since > AGAIN):
        return lowered
    kept["mtu_asked"] = now
    size = config.mtu if lowered and not 0 <= now - since <= AGAIN else lowered or config.mtu
    if _passes(config.interface, probe, size):
        if lowered and size == config.mtu:
            report.repairs.append((f"packets of {size} bytes get through again", "sends them"))
            return None
        return lowered
    for smaller in (each for each in SIZES if each < size):
        if _passes(config.interface, probe, smaller):
            kept["mtu_since"] = now
            host.set_mtu(config.interface, smaller)
            report.repairs.append((f"packets of {size} bytes do not get through", f"sends {smaller} at most"))
            return smaller
    report.troubles["mtu"] = f"not even packets of {SIZES[-1]} bytes get through to {probe}"
    return lowered


def _passes(interface: str, probe: str, size: int) -> bool:
    if host.mtu(interface) < size:
        host.set_mtu(interface, size)
    headers = 28 if ipaddress.ip_address(probe).version == 4 else 48
    return ping.answers(probe, size - headers)
