"""preflight: what is found out before a rebuild."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision.phases.preflight import is_on
from tests.unit.site.sites import MACHINES, site_of


@pytest.mark.parametrize(("name", "expected"), [("wyse-a", True), ("wyse-b", False)])
def test_which_machine_a_living_host_is_on(name: str, expected: bool) -> None:
    """machines.yml may be wrong about that, and the machine that is restarted would be another one."""
    site = site_of(MACHINES)
    shown = "00:00:00:00:00:00\n" + site.machine("wyse-a").passport.macs[0].lower() + "\n"
    asked: list[str] = []

    def run(alias: str, *words: str, **options: Any) -> Any:
        asked.append(alias)
        return subprocess.CompletedProcess(words, 0, shown, "")

    session: Any = SimpleNamespace(ssh=SimpleNamespace(run=run))
    assert is_on(session, site.host("db-wyse"), site.machine(name)) is expected
    assert asked == ["db-wyse"]
