"""Several rebuilds at once: who plays whom, in which order, and what one that fails means to the others."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homelab_provision.doors import process
from homelab_provision.doors.ssh import Answer
from homelab_provision.errors import (
    ExitCode,
    Interrupted,
    Locked,
    ProvisionError,
    Refused,
    Unproven,
    UsageError,
)
from homelab_provision.events import Emit, Event, Notice, Proof, RunFinished
from homelab_provision.jobs import many
from homelab_provision.jobs import rebuild as job
from homelab_provision.phases import ORDER
from homelab_provision.phases.context import Person, Rebuild
from homelab_provision.phases.plan import Plan
from homelab_provision.phases.session import Session
from homelab_provision.runs import lock, store
from homelab_provision.runs.phase import Phase
from homelab_provision.runs.store import Request
from homelab_provision.site.models import Backup, Site
from homelab_provision.ways import Medium
from tests.unit.jobs.world import end
from tests.unit.site.sites import site_of

ALL = list(ORDER)
HOSTS = """\
all:
  children:
    provisioned:
      hosts:
        web: {ansible_host: 192.168.50.11}
        db:
          ansible_host: 192.168.50.10
          provision_mounts: [{source: "192.168.50.20:/srv/data", path: /mnt/data}]
        nas: {ansible_host: 192.168.50.20}
    others:
      hosts:
        router: {ansible_host: 192.168.50.1}
"""


def machine(name: str, number: int, plays: str = "") -> str:
    return (
        f"  {name}:\n"
        + (f"    plays: {plays}\n" if plays else "")
        + f"    address: 192.168.50.{100 + number}\n"
        + "    passport:\n"
        + f"      serial: SERIAL-{number}\n"
        + f'      macs: ["52:54:00:00:00:0{number}"]\n'
        + f"      disks: [{{serial: SYS-{number}, size: 256 GB}}]\n"
    )


PLAYED = machine("box-1", 1, "web") + machine("box-2", 2, "db") + machine("box-3", 3, "nas")
ONE_SPARE = machine("box-1", 1, "web") + machine("box-4", 4)
TWO_SPARES = ONE_SPARE + machine("box-5", 5)


@dataclass
class Typist:
    """Types what is wanted, or what it is told to."""

    refuses: bool = False
    chooses: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def confirm(self, text: str, expected: str) -> None:
        self.asked.append(text)
        if self.refuses:
            raise Refused("not confirmed")

    def ask(self, text: str) -> str:
        raise AssertionError(f"asked: {text}")

    def choose(self, text: str, options: Sequence[str]) -> str:
        self.asked.append(f"{text} {', '.join(options)}")
        return self.chooses.pop(0)


@dataclass
class World:
    """`stops` says what a phase of a host raises, or does; `done` is what began, `told` what was shown."""

    root: Path
    stops: dict[tuple[str, Phase], Any] = field(default_factory=dict)
    done: list[tuple[str, Phase]] = field(default_factory=list)
    told: dict[str, list[Event]] = field(default_factory=dict)
    contexts: list[Rebuild] = field(default_factory=list)
    person: Typist = field(default_factory=Typist)

    def site(self, machines: str = PLAYED) -> Site:
        (self.root / "machines.yml").write_text(f"machines:\n{machines}")
        return site_of(f"machines:\n{machines}", HOSTS, self.root)

    def asked(self, **more: Any) -> Request:
        return Request(command="rebuild", site=self.root, host="", **more)

    def rebuild(self, *hosts: str, site: Site | None = None, unattended: bool = True, **more: Any) -> dict[str, Any]:
        """Rebuild these; how each ended."""
        site = site or self.site()
        members = many.group(site, self.asked(**more), hosts, None if unattended else self.person)
        endings = many.rebuild(
            site,
            members,
            emit=self.told.setdefault("", []).append,
            emit_of=lambda host: self.told.setdefault(host, []).append,
            person=self.person,
            unattended=unattended,
        )
        self.code = many.exit_code(endings)
        return {ending.member.host: ending for ending in endings}

    def begin(self, host: str, phase: Phase) -> None:
        self.done.append((host, phase))
        stop = self.stops.get((host, phase))
        if isinstance(stop, BaseException):
            raise stop
        if stop:
            stop()

    def decide(self, session: Session, request: Request, person: Person | None, emit: Emit) -> Plan:
        self.begin(request.host, Phase.PREFLIGHT)
        assert request.onto
        return Plan(
            host=request.host,
            machine=request.onto,
            address="192.168.50.10",
            way="usb",
            operator="person",
            disk_serials=("SYS",),
            erase=request.erase,
            keep_data=request.keep_data,
            image=Path("/image"),
            image_digest="d" * 64,
            medium=Medium(rescue_id="r", path=Path("/stick")),
            nonce="nonce",
        )

    def phase(self, name: Phase, context: Rebuild) -> Proof:
        self.contexts.append(context)
        self.begin(context.plan.host, name)
        return {}

    def of(self, host: str) -> list[Phase]:
        return [phase for name, phase in self.done if name == host]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "site").mkdir()
    made = World(tmp_path / "site")

    @contextmanager
    def session(site: Site, *given: Any, **options: Any) -> Iterator[SimpleNamespace]:
        ssh = SimpleNamespace(answer=lambda alias: Answer.OURS, know=lambda alias, address: None)
        yield SimpleNamespace(site=site, ssh=ssh)

    def run_phase(name: Phase) -> Any:
        return lambda context: made.phase(name, context)

    monkeypatch.setattr(many, "session", session)
    monkeypatch.setattr(job, "session", session)
    monkeypatch.setattr(job, "decide", made.decide)
    monkeypatch.setattr(job, "PHASES", {name: run_phase(name) for name in ORDER[1:]})
    return made


# ---- who plays whom ------------------------------------------------------------------------------------------


def placed(members: list[many.Member]) -> dict[str, str]:
    return {member.host: member.machine.name for member in members}


def test_each_host_goes_onto_its_own_machine_whether_that_answers_or_not(world: World) -> None:
    members = many.group(world.site(PLAYED + machine("box-4", 4)), world.asked(), ["db", "web", "nas"], None)
    assert placed(members) == {"web": "box-1", "nas": "box-3", "db": "box-2"}
    assert {member.host: dict(member.after) for member in members} == {
        "nas": {},
        "web": {},
        "db": {"nas": "its shares"},
    }
    assert [member.host for member in members].index("nas") < [member.host for member in members].index("db")
    line = next(member.line() for member in members if member.host == "db")
    assert line == "db: box-2 (serial SERIAL-2), through usb; erases the whole disk, SYS-2; after nas"


def test_a_host_without_a_machine_goes_onto_the_spare_and_a_person_chooses_among_several(world: World) -> None:
    assert placed(many.group(world.site(ONE_SPARE), world.asked(), ["db", "web"], None))["db"] == "box-4"
    person = Typist(chooses=["box-5", "box-4"])
    members = many.group(world.site(TWO_SPARES), world.asked(), ["db", "nas", "web"], person)
    assert placed(members) == {"nas": "box-5", "db": "box-4", "web": "box-1"}
    assert person.asked == ["Which machine becomes nas? box-4, box-5", "Which machine becomes db? box-4"]


@pytest.mark.negative
@pytest.mark.parametrize(
    ("machines", "hosts", "error", "said"),
    [
        (PLAYED, ["db", "web", "db"], UsageError, "`db` is named twice"),
        (PLAYED, ["db", "webb"], UsageError, "has no host `webb`"),
        (PLAYED, ["db", "router"], Refused, "`router` may not be rebuilt"),
        (ONE_SPARE, ["db", "nas"], Refused, "`box-4` is the only machine for `nas` and for `db`"),
        (TWO_SPARES, ["db", "web"], Refused, "several spares could play `db`: box-4, box-5"),
        (machine("box-1", 1, "web"), ["db", "web"], Refused, "no machine can play `db`"),
    ],
)
def test_what_is_unclear_is_refused_before_anything_begins(
    world: World, machines: str, hosts: list[str], error: type[ProvisionError], said: str
) -> None:
    with pytest.raises(error, match=said) as refused:
        world.rebuild(*hosts, site=world.site(machines))
    assert refused.value.hint
    assert (world.done, store.everything()) == ([], [])


def test_each_disk_that_may_go_is_given_up_where_it_is(world: World) -> None:
    world.rebuild("db", "web", erase=frozenset({"SYS-1"}), keep_data=True, way="usb")
    asked = {run.request.host: run.request for run in store.everything() if isinstance(run, store.Run)}
    assert {host: (one.onto, set(one.erase)) for host, one in asked.items()} == {
        "web": ("box-1", {"SYS-1"}),
        "db": ("box-2", set()),
    }
    assert all(one.keep_data and one.way == "usb" for one in asked.values())


@pytest.mark.negative
def test_a_disk_that_no_machine_of_these_has_is_a_slip_of_the_pen(world: World) -> None:
    with pytest.raises(UsageError, match="--erase SYS-3"):
        world.rebuild("db", "web", erase=frozenset({"SYS-3"}))  # that is the NAS's
    assert store.everything() == []


def with_backups(site: Site) -> Site:
    backup = Backup.model_validate({"server": "192.168.50.20", "export": "/srv/backup"})
    db = site.host("db").model_copy(update={"backup": backup, "roles": ("base", "postgres")})
    return replace(site, hosts={**site.hosts, "db": db})


@pytest.mark.negative
def test_backups_are_not_wiped_in_the_moment_in_which_they_are_needed(world: World) -> None:
    site = with_backups(world.site())

    def kept(*hosts: str, **more: Any) -> dict[str, bool]:
        members = many.group(site, world.asked(**more), hosts, None)
        assert all(member.request.keep_data == ("its data stays" in member.line()) for member in members)
        return {member.host: member.request.keep_data for member in members}

    assert kept("db", "nas", "web") == {"nas": True, "db": False, "web": False}
    assert kept("nas", "web") == {"nas": False, "web": False}
    assert kept("db", "nas", accept_unproven_backup=True) == {"nas": False, "db": False}
    assert kept("db", "nas", keep_data=True) == {"nas": True, "db": True}


# ---- the question --------------------------------------------------------------------------------------------


def test_one_question_is_asked_for_all_before_anything_begins(world: World) -> None:
    ended = world.rebuild("db", "web", unattended=False)
    assert [ending.error for ending in ended.values()] == [None, None]
    assert world.person.asked == ["Type `rebuild 2` to write these disks, all at once:"]
    lines = [event.text for event in world.told[""] if isinstance(event, Notice)]
    assert ["SYS-2" in line or "SYS-1" in line for line in lines] == [True, True]
    assert {context.consent for context in world.contexts} == {True}
    assert {context.unattended for context in world.contexts} == {False}, "a code may still be asked for"


@pytest.mark.negative
def test_nothing_begins_without_a_yes(world: World) -> None:
    world.person.refuses = True
    with pytest.raises(Refused):
        world.rebuild("db", "web", unattended=False)
    assert (world.done, store.everything()) == ([], [])


def test_nobody_is_asked_where_nobody_may_be(world: World) -> None:
    world.rebuild("db", "web")
    assert world.person.asked == []


# ---- the work ------------------------------------------------------------------------------------------------


def test_each_is_a_run_of_its_own_and_ends_proven(world: World) -> None:
    ended = world.rebuild("db", "web", "nas")
    assert world.code is ExitCode.DONE
    assert {world_host: world.of(world_host) == ALL for world_host in ended} == dict.fromkeys(
        ["db", "web", "nas"], True
    )
    assert all(ending.run.is_proven() and ending.run.report.exists() for ending in ended.values())
    assert sorted(run.id[-3:] for run in store.everything()) == ["-db", "nas", "web"]
    assert all(isinstance(world.told[host][-1], RunFinished) for host in ended)


def test_they_are_at_work_at_the_same_time(world: World) -> None:
    together = threading.Barrier(2)
    for host in ("db", "web"):
        world.stops[host, Phase.FLASH] = lambda: together.wait(timeout=30)
    ended = world.rebuild("db", "web")
    assert [ending.error for ending in ended.values()] == [None, None]


def test_what_is_needed_is_proven_before_the_others_begin(world: World) -> None:
    world.rebuild("db", "nas")
    assert world.done == [("nas", phase) for phase in ALL] + [("db", phase) for phase in ALL]


def test_machines_yml_keeps_what_each_of_them_writes(world: World) -> None:
    """Both end at one moment, on other machines than before."""
    machines = machine("box-4", 4) + machine("box-5", 5).replace("    passport:\n", "    passport:\n      cores: 8\n")
    site = world.site(machines)
    needs = site.host("web").needs.model_copy(update={"cores": 8})
    db = site.host("db").model_copy(update={"needs": site.host("db").needs})
    site = replace(site, hosts={**site.hosts, "web": site.host("web").model_copy(update={"needs": needs}), "db": db})
    world.person.chooses = ["box-4"]
    together = threading.Barrier(2)
    for host in ("db", "web"):
        world.stops[host, Phase.VERIFY] = lambda: together.wait(timeout=30)
    world.rebuild("web", "db", site=site, unattended=False)
    text = (world.root / "machines.yml").read_text()
    assert ("plays: web" in text, "plays: db" in text) == (True, True), text


@pytest.mark.negative
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProvisionError("broken"), ExitCode.FAILED),
        (Unproven("not so"), ExitCode.UNPROVEN),
        (Refused("no"), ExitCode.REFUSED),
        (ZeroDivisionError("oops"), ExitCode.FAILED),
    ],
    ids=["failed", "unproven", "refused", "bug"],
)
def test_one_that_fails_stops_only_those_that_need_it(world: World, error: Exception, code: ExitCode) -> None:
    world.stops["nas", Phase.VERIFY] = error
    ended = world.rebuild("db", "web", "nas")
    assert world.code is code
    assert (ended["nas"].error, ended["web"].error) == (error, None)
    assert world.of("web") == ALL
    assert world.of("db") == []
    assert isinstance(ended["db"].error, many.NotBegun)
    told = world.told["db"][-1]
    assert isinstance(told, RunFinished)
    assert told.error == "not begun: it needs nas for its shares, and that is not proven"
    assert {run.request.host for run in store.everything() if isinstance(run, store.Run)} == {"nas", "web"}


def test_each_that_did_not_end_proven_says_how_it_goes_on(world: World) -> None:
    world.stops["nas", Phase.FLASH] = ProvisionError("broken")
    ended = world.rebuild("db", "web", "nas", keep_data=True, erase=frozenset({"SYS-2"}))
    assert {host: ending.next for host, ending in ended.items()} == {
        "nas": "provision rebuild nas --resume",
        "web": "",
        "db": "provision rebuild db --onto box-2 --keep-data --erase SYS-2",
    }
    assert ended["db"].document()["result"] == "not begun"
    assert ended["db"].document().keys() == ended["nas"].document().keys()
    del world.stops["nas", Phase.FLASH]
    run = job.rebuild(
        store.last_of("nas", world.root),
        emit=lambda event: None,
        person=world.person,
        unattended=True,
        site=world.site(),
    )
    assert run.id == ended["nas"].run.id
    assert end(run).result == "proven"


@pytest.mark.negative
def test_a_host_that_another_run_holds_is_left_to_it(world: World) -> None:
    with lock.locked(["host-web"], "the other"):
        ended = world.rebuild("db", "web")
    assert isinstance(ended["web"].error, Locked)
    assert ended["web"].run is None
    assert (ended["db"].error, world.code) == (None, ExitCode.LOCKED)
    assert world.of("web") == []


@pytest.mark.negative
def test_ctrl_c_stops_all_and_each_can_go_on(world: World) -> None:
    at_work = threading.Barrier(2)

    def work(*, last: bool) -> None:
        at_work.wait(timeout=30)
        if last:
            os.kill(os.getpid(), signal.SIGINT)
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            process.pause(0.02)

    world.stops["nas", Phase.FLASH] = lambda: work(last=True)
    world.stops["web", Phase.CONVERGE] = lambda: work(last=False)
    # Whoever runs the tests in the background has it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        ended = world.rebuild("db", "web", "nas")
    finally:
        signal.signal(signal.SIGINT, before)
    assert world.code is ExitCode.INTERRUPTED
    assert {host: isinstance(ending.error, Interrupted) for host, ending in ended.items()} == dict.fromkeys(ended, True)
    assert {host: ending.next for host, ending in ended.items()} == {
        "nas": "provision rebuild nas --resume",
        "web": "provision rebuild web --resume",
        "db": "provision rebuild db --onto box-2",
    }
    assert all(end(ending.run).error == "interrupted" for ending in ended.values() if ending.run)


def test_the_exit_code_is_that_of_the_worst() -> None:
    member: Any = SimpleNamespace()
    errors = [Unproven("x"), Refused("x"), ProvisionError("x"), None, many.NotBegun("x")]
    endings = [many.Ending(member, error) for error in errors]
    assert many.exit_code(endings) is ExitCode.FAILED
    assert many.exit_code(endings[:2]) is ExitCode.REFUSED
    assert many.exit_code(endings[:1]) is ExitCode.UNPROVEN
    assert many.exit_code(endings[3:]) is ExitCode.DONE
