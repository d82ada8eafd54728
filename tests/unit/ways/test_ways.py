"""Ways into the rescue: a new one is one file, and everything else takes it from there."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision import paths, ways
from homelab_provision.doors.ssh import Answer
from homelab_provision.errors import UsageError
from homelab_provision.phases import boot
from homelab_provision.ways import Medium, Way, usb, way_called
from tests.unit.site.sites import MACHINES, problems_of, site_of

PIGEON = '''
"""The way `pigeon`: the rescue comes through the window."""

from contextlib import contextmanager
from pathlib import Path

from homelab_provision.ways import Medium

class Pigeon:
    rank = 50
    seen = []

    def objection(self, machine, answers):
        return None

    def prepare(self, site, identity, rescue, emit):
        return Medium(rescue_id=f"{site}-pigeon", path=Path("/grain"))

    @contextmanager
    def serving(self, start):
        self.seen.append(f"{start.machine.name} gets {start.medium.path}")
        yield self
        self.seen.append("caught again")

    def host_key(self):
        return None

    def progress(self):
        return None

    def leave(self, operator, machine):
        self.seen.append("gone")

WAY = Pigeon()
'''


@pytest.fixture
def pigeon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A way made with one file."""
    (tmp_path / "pigeon.py").write_text(PIGEON)
    monkeypatch.setattr(paths, "WAYS", [*paths.WAYS, tmp_path])
    monkeypatch.setattr(ways, "__path__", [*ways.__path__, str(tmp_path)])
    yield way_called("pigeon")
    sys.modules.pop("homelab_provision.ways.pigeon")


@pytest.mark.parametrize("name", paths.ways())
def test_each_file_is_a_way(name: str) -> None:
    way = way_called(name)
    for method in ("objection", "prepare", "serving", "leave"):
        assert list(signature(getattr(way, method)).parameters) == list(signature(getattr(Way, method)).parameters)[1:]


@pytest.mark.negative
@pytest.mark.parametrize("name", ["teleport", "__init__", "../lab/lab", ""])
def test_what_is_no_way(name: str) -> None:
    with pytest.raises(UsageError, match="there is no way") as refused:
        way_called(name)
    assert refused.value.hint == "one of: bootnext, kexec, netboot, usb"


def test_a_site_may_use_a_new_way(pigeon: Any, tmp_path: Path) -> None:
    site = site_of(MACHINES.replace("    plays: db-wyse\n", "    plays: db-wyse\n    way: pigeon\n"))
    assert site.machine("wyse-a").way == "pigeon"


@pytest.mark.negative
def test_a_near_miss_is_told_with_its_line(pigeon: Any) -> None:
    said = problems_of(MACHINES.replace("    plays: db-wyse\n", "    plays: db-wyse\n    way: pidgeon\n"))
    assert "machines.yml:4: machines.wyse-a.way: `pidgeon` does not fit" in said
    assert "one of: auto, bootnext, kexec, netboot, pigeon, usb" in said
    assert "did you mean `pigeon`?" in said


def test_the_boot_phase_goes_a_new_way(pigeon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Answer.SILENT])

    def wait(alias: str, **options: Any) -> Answer:
        pigeon.seen.append("waited")
        return Answer.OURS

    ssh = SimpleNamespace(
        answer=lambda alias: next(answers, Answer.OURS),
        wait=wait,
        run=lambda *words, **options: SimpleNamespace(stdout="lab-pigeon\nboot id\n"),
        addresses={"rescue": "192.168.50.102"},
        pinned={"rescue": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"},
    )
    site = site_of(MACHINES)
    key = SimpleNamespace(public="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA")
    rebuild: Any = SimpleNamespace(
        ssh=ssh,
        site=site,
        way=pigeon,
        plan=SimpleNamespace(way="pigeon", operator="lab", host="db-wyse"),
        operator=SimpleNamespace(patience=1.0),
        machine=site.machine("wyse-b"),
        session=SimpleNamespace(identities=SimpleNamespace(site=SimpleNamespace(rescue=key))),
        emit=lambda event: None,
    )
    monkeypatch.setattr(boot, "build_rescue", lambda cache, emit: None)
    pigeon.seen.clear()
    assert boot.run(rebuild)["rescue"] == "lab-pigeon"
    assert pigeon.seen == ["wyse-b gets /grain", "waited", "caught again"]


@pytest.mark.processes
def test_the_command_line_offers_it(tmp_path: Path) -> None:
    (tmp_path / "pigeon.py").write_text(PIGEON)
    script = f"""
import sys
from pathlib import Path
from homelab_provision import paths
paths.WAYS.append(Path({str(tmp_path)!r}))
sys.argv = ["provision", "rebuild", "--help"]
from homelab_provision.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--way [bootnext|kexec|netboot|pigeon|usb|auto]" in done.stdout


def test_the_medium_is_kept_in_the_plan_as_it_is() -> None:
    medium = Medium(rescue_id="lab-0123", path=Path("/state/sticks/lab-0123.img"))
    assert Medium.model_validate_json(medium.model_dump_json()) == medium


def test_the_stick_of_a_site_is_made_once_however_many_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def build_stick(rescue: object, personal: object, target: Path) -> None:
        made.append(target)
        time.sleep(0.2)  # the others come meanwhile
        target.write_text("a stick")

    monkeypatch.setattr(usb, "build_stick", build_stick)
    monkeypatch.setattr(usb, "personal", lambda *words: b"")
    key = SimpleNamespace(public="ssh-ed25519 AAAA", private="-")
    identity: Any = SimpleNamespace(controller=key, rescue=key)
    rescue: Any = SimpleNamespace(digest="d" * 64)
    found: list[Medium] = []
    wanted = [
        threading.Thread(target=lambda: found.append(usb.site_stick("home", identity, rescue, lambda event: None)))
        for _ in range(3)
    ]
    for thread in wanted:
        thread.start()
    for thread in wanted:
        thread.join(30)
    assert len(made) == 1
    assert {medium.path.read_text() for medium in found} == {"a stick"}
    assert len(found) == 3
