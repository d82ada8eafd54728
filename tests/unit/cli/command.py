"""The command in this process: what it is asked, and what it shows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import cli
from homelab_provision.errors import ProvisionError
from homelab_provision.events import RunResult
from homelab_provision.jobs import rebuild as job
from homelab_provision.phases.plan import Plan
from homelab_provision.runs import store
from homelab_provision.runs.store import Request, Run
from homelab_provision.site.models import Site
from homelab_provision.ways import Medium
from tests.unit.report.journal import Journal
from tests.unit.site.sites import HOSTS, MACHINES, site_of

# Of a run as JSON.
KEYS = ["run", "host", "machine", "site", "result", "seconds", "phases"]
PLAN = Plan(
    host="db-wyse",
    machine="wyse-b",
    address="192.168.50.10",
    way="usb",
    operator="person",
    disk_serials=("SYS-B",),
    erase=frozenset(),
    keep_data=False,
    image=Path("/image"),
    image_digest="d" * 64,
    medium=Medium(rescue_id="r", path=Path("/stick")),
    nonce="n",
)


@dataclass(frozen=True)
class Shown:
    code: int
    out: str
    err: str


Provision = Callable[..., Shown]


@pytest.fixture
def provision(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Provision:
    """Run the command in this process, through its real entry point."""

    def run(*words: str) -> Shown:
        monkeypatch.setattr(sys, "argv", ["provision", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        shown = capsys.readouterr()
        return Shown(int(left.value.code or 0), shown.out, shown.err)

    return run


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site that is understood without asking Ansible, and that the commands find."""
    root = tmp_path / "home"
    root.mkdir()
    (root / "machines.yml").write_text(MACHINES)

    def load_site(given: Path) -> Site:
        return site_of((given / "machines.yml").read_text(), HOSTS, given)

    for module in ("jobs.rebuild", "site.loading", "phases.session"):
        monkeypatch.setattr(f"homelab_provision.{module}.load_site", load_site)
    monkeypatch.setenv("PROVISION_SITE", str(root))
    return root


def rebuild_that(monkeypatch: pytest.MonkeyPatch, error: ProvisionError | None) -> list[dict[str, Any]]:
    """Replace the job by one that ends at once; returns how it was called."""
    calls: list[dict[str, Any]] = []

    def rebuild(asked: Request | Run, **options: Any) -> Run:
        run = store.start(asked) if isinstance(asked, Request) else asked
        calls.append({"run": run, **options})
        if error:
            raise error
        return run

    monkeypatch.setattr(job, "rebuild", rebuild)
    return calls


def proven_journal() -> Journal:
    journal = Journal()
    journal.run()
    journal.phase("preflight", 2.0, machine="wyse-b")
    journal.phase("boot", 30.5, boot_id="b")
    journal.end(RunResult.PROVEN, 32.5)
    return journal
