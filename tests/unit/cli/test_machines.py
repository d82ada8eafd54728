"""`provision machines`: what could take over, in a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.command import Provision, provision, site
from tests.unit.site.sites import HOSTS, MACHINES, site_of

__all__ = ["provision", "site"]  # fixtures

PARTS = """
parts:
  ram-16:
    kind: memory
    models: [wyse5070]
    memory_mib: 16384
"""
NEEDS = HOSTS.replace(
    "          ansible_host: 192.168.50.10\n",
    "          ansible_host: 192.168.50.10\n          provision_needs: {memory_mib: 12000}\n",
)


@pytest.fixture
def needy(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site whose db-wyse asks for more memory than the spare has, and whose shelf has it."""
    (site / "machines.yml").write_text(MACHINES.replace("  # the spare\n", "\n    model: wyse5070\n") + PARTS)
    monkeypatch.setattr(
        "homelab_provision.site.loading.load_site",
        lambda given: site_of((given / "machines.yml").read_text(), NEEDS, given),
    )
    return site


@pytest.mark.usefixtures("site")
def test_every_host_could_be_taken_over(provision: Provision) -> None:
    shown = provision("machines", "check")
    assert shown.code == 0, shown.err
    assert [line.split("  ")[0] for line in shown.out.splitlines()] == ["host", "db-wyse", "db-wyse", "web-wyse"]
    assert shown.out.splitlines()[1].split() == ["db-wyse", "wyse-a", "plays", "it"]
    assert shown.err == ""


@pytest.mark.usefixtures("needy")
def test_the_part_that_would_make_a_spare_fit(provision: Provision) -> None:
    shown = provision("machines", "check", "db-wyse")
    assert shown.code == 7
    header, player, spare = shown.out.splitlines()
    assert header.split("  ")[0] == "host"
    assert "memory: 8192 MiB, needs 12000 MiB" in player
    assert "fits with parts" in spare
    assert spare.endswith("memory: 8192 MiB, needs 12000 MiB  ram-16")
    assert shown.err == "no spare could take over db-wyse as it is\n"


@pytest.mark.usefixtures("needy")
def test_for_programs(provision: Provision) -> None:
    shown = provision("machines", "check", "--json", "--all")
    assert shown.code == 7
    told = json.loads(shown.out)
    db, web = told["hosts"]
    assert (db["host"], db["covered"], web["covered"]) == ("db-wyse", False, True)
    assert db["needs"]["memory_mib"] == 12000
    assert db["machines"][1] == {
        "machine": "wyse-b",
        "plays": None,
        "verdict": "with-parts",
        "lacks": ["memory: 8192 MiB, needs 12000 MiB"],
        "parts": [{"part": "ram-16", "how": "16384 MiB in place of what is in it"}],
    }
    assert [row["verdict"] for row in web["machines"]] == ["fits", "taken"]
    assert told["parts"]["ram-16"]["memory_mib"] == 16384


def test_who_plays_another_host_is_shown_only_with_all(site: Path, provision: Provision) -> None:
    assert "wyse-a" not in provision("machines", "check", "web-wyse").out
    assert "plays db-wyse" in provision("machines", "check", "web-wyse", "--all").out


def test_a_part_that_goes_into_no_machine_is_said(site: Path, provision: Provision) -> None:
    (site / "machines.yml").write_text(MACHINES + PARTS.replace("wyse5070", "ds224plus"))
    assert "the part ram-16 goes into no machine of this site: ds224plus\n" in provision("machines", "check").err


@pytest.mark.negative
@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(("host", "code"), [("db-wise", 2), ("nas", 5)])
def test_hosts_that_are_none_or_may_not_be_rebuilt(provision: Provision, host: str, code: int) -> None:
    shown = provision("machines", "check", host)
    assert (shown.code, shown.out) == (code, "")
