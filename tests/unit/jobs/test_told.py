"""What playbooks are told by the toolkit beside what stands in the site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision.doors.ansible import Playbook, Recap
from homelab_provision.jobs import playbook
from homelab_provision.phases import converge
from tests.unit.site.sites import HOSTS, MACHINES, site_of

AUTHORITY = "the certificate of today"


def test_the_authority_of_today_is_told_whenever_a_host_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Playbook] = []

    def play(what: Playbook, **_: Any) -> Recap:
        given.append(what)
        return Recap({}, [])

    site = site_of(MACHINES, HOSTS, tmp_path)
    opened: Any = SimpleNamespace(
        site=site,
        hosts=[site.host("db-wyse")],
        vault=SimpleNamespace(password_file=None, variables_file=lambda: None),
        ssh=SimpleNamespace(config_file=tmp_path / "config"),
        identities=SimpleNamespace(site=SimpleNamespace(authority=SimpleNamespace(certificate=AUTHORITY))),
    )

    @contextmanager
    def session(*_: Any) -> Iterator[Any]:
        yield opened

    for module in (playbook, converge):
        monkeypatch.setattr(module, "play", play)
    monkeypatch.setattr(playbook, "session", session)
    monkeypatch.setattr(converge, "restored", lambda run: ())
    run = playbook.run_playbook("run", tmp_path, Path("site.yml"), playbook.Order(), emit=lambda event: None).run
    rebuild: Any = SimpleNamespace(
        session=opened,
        site=site,
        ssh=opened.ssh,
        run=run,
        plan=SimpleNamespace(host="db-wyse", backups=()),
        machine=site.player_of("db-wyse"),
        emit=None,
    )
    converge.play_site(rebuild)
    assert [each.variables["provision_authority"] for each in given] == [AUTHORITY, AUTHORITY]
