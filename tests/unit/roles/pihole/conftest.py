from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.roles.pihole.ftl import Served, served


@pytest.fixture
def pihole(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "pihole"
    folder.mkdir()
    with served(folder, {"FTLCONF_dns_listeningMode": "ALL"}) as found:
        yield found
