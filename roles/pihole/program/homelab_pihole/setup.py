"""What the role has written down for this program, and the door to the Pi-hole of this host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlunsplit

from homelab_host import document
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
    return document.load(CONFIGURATION, _parse, "apply the host: the role writes it")


def _parse(text: str) -> Setup:
    told = document.Reader("", document.decoded(text))
    share = Path(told.text("share")) if told.values.get("share") else None
    # The role says an address and a port.
    source = urlunsplit(("https", told.text("source"), "", "", "")) if told.values.get("source") else ""
    return Setup(told.text("host"), share, told.text("url"), source)


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
