"""What the role has written down: the addresses that this host may have, and what has to be true for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homelab_host import document
from homelab_host.errors import Trouble

SETTINGS = Path("/etc/homelab-provision/floating.json")
# One file for each address, which keepalived watches: 1 is good; 0 is not, and behind it stands why.
ANSWERS = Path("/run/homelab-floating")


@dataclass(frozen=True)
class Check:
    """One thing that has to be true; which fields count depends on `kind`. Seconds for `timeout` and `probe_age`."""

    kind: str
    address: str = "127.0.0.1"
    port: int = 0
    name: str = ""
    type: str = "A"
    answer: str = ""
    command: tuple[str, ...] = ()
    interface: str = ""
    public_key: str = ""
    probe: str = ""
    probe_age: int = 180
    timeout: float = 0.5


@dataclass(frozen=True)
class Name:
    """One name, with its addresses and their prefixes; `source` and `peers` are the hosts' own addresses."""

    name: str
    addresses: tuple[str, ...]
    checks: tuple[Check, ...]
    source: str = ""
    peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """How often (seconds) and how long in a row, and for which names."""

    interval: float
    fall: int
    rise: int
    names: tuple[Name, ...] = field(default=())
    interface: str = ""


def load(path: Path = SETTINGS) -> Settings:
    """Raises `Trouble`."""
    return document.load(path, _parse, "`provision apply` writes it anew")


def _parse(text: str) -> Settings:
    written = document.decoded(text)
    try:
        names = [
            Name(
                each["name"],
                (each["address"], *each["also"]),
                tuple(_check(one) for one in each["check"]),
                each["source"],
                tuple(each["peers"]),
            )
            for each in written["addresses"]
        ]
        counted = int(written["fall"]), int(written["rise"])
        return Settings(float(written["interval"]), *counted, tuple(names), written["interface"])
    except (ValueError, LookupError, TypeError) as error:
        raise Trouble(f"it cannot be understood: {type(error).__name__}: {error}") from None


def _check(written: dict[str, Any]) -> Check:
    given = {**written, "command": tuple(written.get("command") or ())}
    return Check(**{key: value for key, value in given.items() if value is not None})
