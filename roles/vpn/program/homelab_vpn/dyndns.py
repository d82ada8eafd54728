"""A name that follows the address of a home, by the protocol that providers call dyndns2."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import urllib.error
import urllib.parse
import urllib.request
from typing import Protocol

from homelab_host.errors import Trouble

from . import names
from .config import Dyndns
from .memory import Memory

# Every so many seconds the address is asked for. What a provider has refused is not sent again before the settings have
# changed: it would be taken for abuse.
PACE, SECONDS = 60.0, 10.0
LARGEST = 4096
GOOD = ("good", "nochg")
LATER = ("911", "dnserr")


class Told(Protocol):
    repairs: list[tuple[str, str]]
    troubles: dict[str, str]


def look(settings: Dyndns, memory: Memory, report: Told, now: float) -> None:
    """Compare where the name leads with where this home is, and have the provider change it."""
    kept = memory.recall("dyndns")
    marked = hashlib.sha256(repr(settings).encode() + settings.password.encode()).hexdigest()
    if kept.get("settings") != marked:
        kept = {"settings": marked}
    if 0 <= now - float(kept.get("asked", 0)) < PACE:
        report.troubles |= {"wan": kept["trouble"]} if kept.get("trouble") else {}
        return
    kept |= {"asked": now, "trouble": ""}
    try:
        _follow(settings, kept, report)
    except Trouble as trouble:
        kept["trouble"] = report.troubles["wan"] = trouble.message
    memory.keep("dyndns", kept)


def _follow(settings: Dyndns, kept: dict[str, object], report: Told) -> None:
    address = _address(settings.ask)
    kept["address"] = address
    led = _led(settings.name)
    if address in led:
        return
    apart = f"{settings.name} leads to {', '.join(led) or 'nowhere'}, and this home is at {address}"
    if not settings.update:
        raise Trouble(f"{apart}; nobody was declared who could change that")
    if refused := kept.get("refused"):
        raise Trouble(f"{apart}; the provider has refused to change it: {refused}")
    if kept.get("told") == address:
        raise Trouble(f"{apart}; the provider was told, and the name will follow")
    said = _tell(settings, address)
    word = said.split()[0] if said.split() else "nothing"
    if word in GOOD:
        kept["told"] = address
        report.repairs.append((apart, "told the provider"))
        return
    if word not in LATER:
        kept["refused"] = said[:80] or "without a word"
    raise Trouble(f"{apart}; the provider says {said[:80]!r}")


def _led(name: str) -> list[str]:
    """Where a name leads; a home need not be able to look up its own."""
    try:
        return names.resolve(name)
    except Trouble:
        return []


def _address(url: str) -> str:
    text = _get(url, {}).strip()
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Trouble(f"what should tell this home's address tells something else: {text[:40]!r}") from None


def _tell(settings: Dyndns, address: str) -> str:
    query = urllib.parse.urlencode({"hostname": settings.name, "myip": address})
    account = base64.b64encode(f"{settings.user}:{settings.password}".encode()).decode()
    return _get(f"{settings.update}?{query}", {"Authorization": f"Basic {account}"}).strip()


def _get(url: str, headers: dict[str, str]) -> str:
    asked = urllib.request.Request(url, headers={"User-Agent": "homelab-provision", **headers})
    host = urllib.parse.urlsplit(url).hostname
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
            return str(answer.read(LARGEST).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return str(error.read(LARGEST).decode(errors="replace")) or f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        raise Trouble(f"{host} has not answered: {getattr(error, 'reason', error)}") from None
