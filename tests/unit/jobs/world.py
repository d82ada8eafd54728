"""The surroundings of a rebuild: what would touch a machine, a secret or the network is replaced here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision.doors.ssh import Answer
from homelab_provision.events import Emit, Event, PhaseStarted, Proof, RunFinished
from homelab_provision.jobs import rebuild as job
from homelab_provision.phases import ORDER
from homelab_provision.phases.context import Person, Rebuild
from homelab_provision.phases.plan import Plan
from homelab_provision.phases.session import Session
from homelab_provision.runs import store
from homelab_provision.runs.phase import Phase
from homelab_provision.runs.store import Request, Run
from homelab_provision.site import assignment, loading
from homelab_provision.site.inventory import Inventory
from homelab_provision.site.models import Site
from homelab_provision.site.problems import Problem
from homelab_provision.site.roles import Pattern
from homelab_provision.ways import Medium
from tests.unit.site.sites import HOSTS, MACHINES, inventory_of, site_of

HOST, SPARE = "db-wyse", "wyse-b"


class Killed(BaseException):
    """`kill -9`: the world sees to it that nothing more is journalled."""


class Nobody:
    """Nobody is there to be asked."""

    def confirm(self, text: str, expected: str) -> None:
        raise AssertionError(f"asked: {text}")

    def ask(self, text: str) -> str:
        raise AssertionError(f"asked: {text}")

    def choose(self, text: str, options: Sequence[str]) -> str:
        raise AssertionError(f"asked: {text}")


@dataclass
class World:
    """`stops` says what a phase raises, `dies_before` which phase is never begun, `rescue` whether the rescue answers.

    `done` are the phases that began, with their `contexts`.
    """

    root: Path
    stops: dict[Phase, BaseException] = field(default_factory=dict)
    dies_before: Phase | None = None
    dead: bool = False
    rescue: Answer = Answer.OURS
    done: list[Phase] = field(default_factory=list)
    contexts: list[Rebuild] = field(default_factory=list)
    decided: int = 0
    loaded: int = 0
    recorded: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        spare = MACHINES.replace("  wyse-b:  # the spare\n", "  wyse-b:  # the spare\n    address: 192.168.50.210\n")
        (self.root / "machines.yml").write_text(spare)
        (self.root / "hosts.yml").write_text(HOSTS)

    def site(self) -> Site:
        return site_of((self.root / "machines.yml").read_text(), HOSTS, self.root)

    def new_run(self) -> Run:
        return store.start(Request(command="rebuild", site=self.root, host=HOST))

    def attempt(self, run: Run, first: Phase | None = None, *, unattended: bool = True) -> list[Phase]:
        """Carry the run on; returns the phases that began in this attempt."""
        self.done.clear()
        self.contexts.clear()
        self.dead = False
        job.rebuild(run, emit=lambda event: None, person=Nobody(), unattended=unattended, first=first)
        return list(self.done)

    def begin_anew(self, request: Request) -> Run:
        self.done.clear()
        return job.rebuild(request, emit=lambda event: None, person=Nobody(), unattended=True)

    def stopped(
        self, run: Run, by: type[BaseException], first: Phase | None = None, *, unattended: bool = True
    ) -> list[Phase]:
        """The same for an attempt that ends badly; afterwards nothing is wrong with the world any more."""
        with pytest.raises(by):
            self.attempt(run, first, unattended=unattended)
        self.stops, self.dies_before = {}, None
        return list(self.done)

    def journal(self, run: Run, event: Event, append: Callable[[Run, Event], None]) -> None:
        if isinstance(event, PhaseStarted) and event.phase == self.dies_before:
            self.dead = True
            raise Killed
        if not self.dead:
            append(run, event)

    def begin(self, phase: Phase) -> None:
        self.done.append(phase)
        if phase in self.stops:
            self.dead = isinstance(self.stops[phase], Killed)
            raise self.stops[phase]

    def decide(self, session: Session, request: Request, person: Person | None, emit: Emit) -> Plan:
        self.begin(Phase.PREFLIGHT)
        self.decided += 1
        return Plan(
            host=request.host,
            machine=request.onto or SPARE,
            address="192.168.50.10",
            way="usb",
            operator="person",
            disk_serials=("SYS-B",),
            erase=frozenset(),
            keep_data=False,
            image=Path("/image"),
            image_digest="d" * 64,
            medium=Medium(rescue_id="r", path=Path("/stick")),
            nonce=f"nonce {self.decided}",
        )

    def record_player(self, site: Site, host: str, machine: str) -> None:
        self.recorded.append((host, machine))
        assignment.record_player(site, host, machine)

    def phase(self, name: Phase, context: Rebuild) -> Proof:
        self.contexts.append(context)
        self.begin(name)
        return {"of": str(name)}


def surround(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the world in the place of the real one."""

    @contextmanager
    def session(site: Site, *given: Any, **options: Any) -> Iterator[SimpleNamespace]:
        ssh = SimpleNamespace(answer=lambda alias: world.rescue, know=lambda alias, address: None)
        yield SimpleNamespace(site=site, ssh=ssh)

    def read_inventory(root: Path, password: object, patterns: Sequence[Pattern]) -> Inventory | Problem:
        world.loaded += 1
        return inventory_of(HOSTS, patterns)

    append = Run.append
    monkeypatch.setattr(Run, "append", lambda run, event: world.journal(run, event, append))
    monkeypatch.setattr(loading, "read_inventory", read_inventory)
    monkeypatch.setattr(job, "record_player", world.record_player)
    monkeypatch.setattr(job, "Vault", SimpleNamespace(of=lambda *names, **options: None))
    monkeypatch.setattr(job, "session", session)
    monkeypatch.setattr(job, "decide", world.decide)

    def run_phase(name: Phase) -> Any:
        return lambda context: world.phase(name, context)

    monkeypatch.setattr(job, "PHASES", {name: run_phase(name) for name in ORDER[1:]})


def end(run: Run) -> RunFinished:
    """The last word of a run's journal."""
    last: Event = run.events()[-1]
    assert isinstance(last, RunFinished)
    return last
