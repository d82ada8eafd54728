"""What the role has written down for this program, and the door to the Pi-hole of this host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlunsplit

from homelab_host.errors import Trouble

from .client import PiholeError, Session

CONFIGURATION = Path("/etc/homelab-provision/pihole.json")
PASSWORD, SOURCE_PASSWORD = (Path("/etc/homelab-provision/pihole") / name for name in ("password", "source-password"))
AUTHORITY = Path("/etc/homelab-provision/tls/ca.crt")


@dataclass(frozen=True)
class Setup:
    """`source`: the URL of the Pi-hole that this one is a copy of, always with TLS; empty if it is of none."""

    host: str
    share: Path | None
    url: str
    source: str


def load() -> Setup:
    try:
        found = json.loads(CONFIGURATION.read_text())
        share = Path(found["share"]) if found["share"] else None
        # The role says an address and a port.
        source = urlunsplit(("https", found["source"], "", "", "")) if found["source"] else ""
        return Setup(found["host"], share, found["url"], source)
    except (OSError, ValueError, LookupError) as error:
        hint = "apply the host: the role writes it"
        raise Trouble(f"{CONFIGURATION} cannot be used: {error}", hint) from None


@contextmanager
def session(url: str, password: Path, authority: Path | None = None) -> Iterator[Session]:
    """What goes wrong in it is raised as `Trouble`."""
    try:
        with Session(url, password.read_text().strip(), str(authority) if authority else None) as opened:
            yield opened
    except PiholeError as error:
        raise Trouble(error.message, error.hint or None) from None
    except FileNotFoundError as error:
        raise Trouble(f"{error.filename} is not there", "apply the host: the role writes it") from None


@contextmanager
def own(setup: Setup) -> Iterator[Session]:
    with session(setup.url, PASSWORD) as opened:
        yield opened
