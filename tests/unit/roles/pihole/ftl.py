"""The stand-in for pihole-FTL (molecule/pihole/ftl), served on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[4] / "molecule" / "pihole" / "ftl"
if str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))

from pihole_stand_in.ftl import Ftl  # noqa: E402 - it lies where its image is made
from pihole_stand_in.keys import KEYS, Key, before_6_3  # noqa: E402 - as above
from pihole_stand_in.server import Server  # noqa: E402 - as above

__all__ = ["PASSWORD", "Served", "before_6_3", "served"]
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Served:
    ftl: Ftl
    url: str

    @property
    def values(self) -> dict[str, Any]:
        return self.ftl.settings.values

    @property
    def sessions(self) -> int:
        return len(self.ftl.sessions.seats)

    def asked(self, word: str) -> int:
        """How often it was asked for something that begins so, as in `PATCH /api`."""
        return sum(line.startswith(word) for line in self.ftl.log)


@contextmanager
def served(
    folder: Path, environment: Mapping[str, str] | None = None, keys: Mapping[str, Key] = KEYS
) -> Iterator[Served]:
    given = {"FTLCONF_webserver_api_password": PASSWORD, **(environment or {})}
    ftl = Ftl(folder, given, keys=keys)
    server = Server(ftl, "127.0.0.1", 0).begin()
    try:
        yield Served(ftl, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
