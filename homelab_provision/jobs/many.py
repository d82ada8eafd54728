"""Several rebuilds at once: what one of them needs of another comes first, and one question is asked for all.

Each is a run of its own, in a thread of its own, and goes on alone if it was stopped: a group is an order, a question
and a screen.
"""

from __future__ import annotations

import shlex
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any

from homelab_provision.doors import process
from homelab_provision.errors import ExitCode, Interrupted, ProvisionError, Refused, UsageError
from homelab_provision.events import Emit, Notice, RunFinished, RunResult
from homelab_provision.jobs import rebuild as job
from homelab_provision.jobs.report import document
from homelab_provision.machine.placement import pick_machine, require_provisioned
from homelab_provision.phases.context import Person
from homelab_provision.phases.session import session
from homelab_provision.rescue.facts import same_serial
from homelab_provision.runs.store import Request, Run
from homelab_provision.site.models import Host, Machine, Site
from homelab_provision.site.order import BACKUPS, Needed, in_order

# Of several that ended badly, which says how the command did: who did least comes last.
WORST = (ExitCode.INTERRUPTED, ExitCode.FAILED, ExitCode.LOCKED, ExitCode.REFUSED, ExitCode.USAGE, ExitCode.UNPROVEN)
NOT_BEGUN = "not begun"


@dataclass(frozen=True)
class Member:
    """A host of the group, and what is decided about it beforehand; `after` are those of the group that come first."""

    request: Request
    machine: Machine
    after: Needed

    @property
    def host(self) -> str:
        return self.request.host

    @property
    def way(self) -> str:
        return self.request.way or self.machine.way

    @property
    def disk(self) -> str:
        return " or ".join(disk.serial for disk in self.machine.passport.system_disks)

    @property
    def erases(self) -> str:
        return "the root file system" if self.request.keep_data else "the whole disk"

    def line(self) -> str:
        """What is about to happen, for a person to agree to."""
        who = f"{self.machine.name} ({self.machine.passport.known_by}), through {self.way}"
        first = f"; after {' and '.join(self.after)}" if self.after else ""
        stays = "; its data stays" if self.request.keep_data else ""
        return f"{self.host}: {who}; erases {self.erases}, {self.disk}{stays}{first}"

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "host": self.host,
            "machine": self.machine.name,
            "way": self.way,
            "disks": [disk.serial for disk in self.machine.passport.system_disks],
            "keep_data": self.request.keep_data,
            "after": dict(self.after),
        }


class NotBegun(ProvisionError):
    """A member of the group that was not touched, as one before it failed."""


@dataclass(frozen=True)
class Ending:
    """How a member ended: proven, or by an error. Without a run, nothing of it was begun."""

    member: Member
    error: BaseException | None = None
    run: Run | None = None

    @property
    def next(self) -> str:
        """The command that goes on with it, alone; empty if it is proven."""
        if self.error is None:
            return ""
        asked = self.member.request
        flags = {"--keep-data": asked.keep_data, "--accept-unproven-backup": asked.accept_unproven_backup}
        words = ["--onto", self.member.machine.name, *(["--way", asked.way] if asked.way else [])]
        words += [flag for flag, given in flags.items() if given]
        words += [word for serial in sorted(asked.erase) for word in ("--erase", serial)]
        return shlex.join(["provision", "rebuild", asked.host, *(["--resume"] if self.run else words)])

    def document(self) -> dict[str, Any]:
        """It as JSON: its run, or why there is none."""
        if self.run:
            return document(self.run)
        member = self.member
        return {
            "run": None,
            "host": member.host,
            "machine": member.machine.name,
            "site": member.request.site.name,
            "result": NOT_BEGUN,
            "seconds": 0.0,
            "phases": [],
            "note": str(self.error),
        }


def group(site: Site, asked: Request, hosts: Sequence[str], person: Person | None) -> list[Member]:
    """Decide who becomes which host, and in which order. Nothing is looked at but the site.

    `asked` is what all of them have in common; a host that has the backups of another one keeps its data. A host is
    played by its own machine, also if that does not answer; one that has none by the spare that fits, and `person` is
    asked where several do. Raises UsageError or Refused.
    """
    if twice := [name for name, count in Counter(hosts).items() if count > 1]:
        raise UsageError(f"`{twice[0]}` is named twice", hint="each host once; the order is found by itself")
    order = in_order(site, hosts)
    machines = _place(site, [site.host(name) for name in order], person)
    job.require_disks(asked.erase, machines.values())
    # Whoever has the backups of others keeps them: they are about to be needed.
    keepers = {name for after in order.values() for name, what in after.items() if what == BACKUPS}
    kept = asked.model_copy(update={"keep_data": asked.keep_data or not asked.accept_unproven_backup})
    return [
        Member(_request(kept if name in keepers else asked, name, machines[name]), machines[name], after)
        for name, after in order.items()
    ]


def rebuild(
    site: Site,
    members: Sequence[Member],
    *,
    emit: Emit,
    emit_of: Callable[[str], Emit],
    person: Person,
    unattended: bool,
    code: str | None = None,
) -> list[Ending]:
    """Ask once, then carry all to their ends, and return these in the order in which they came.

    What happens to one is told to `emit_of(HOST)`. One that fails stops only those that need it; Ctrl-C stops all.
    """
    job.warn(site, emit)
    # What is wrong with the keys of one, or with the lab, is told before anybody is asked.
    with session(site, [member.host for member in members], emit=emit):
        pass
    for member in members:
        emit(Notice(text=member.line()))
    if not unattended:
        word = f"rebuild {len(members)}"
        person.confirm(f"Type `{word}` to write these disks, all at once:", word)

    def carry(member: Member) -> Ending:
        emit, runs = emit_of(member.host), list[Run]()
        error: BaseException | None = None
        try:
            job.rebuild(
                member.request,
                emit=emit,
                person=person,
                unattended=unattended,
                code=code,
                site=site,
                agreed=True,
                begun=runs.append,
            )
        except KeyboardInterrupt:
            error = Interrupted("interrupted")
        except BaseException as stopped:  # in a thread, from which nobody else would hear of it
            error = stopped
        if not runs:  # as another run has its lock: no journal says so
            emit(RunFinished(result=RunResult.FAILED, seconds=0, error=str(error)))
        return Ending(member, error, runs[0] if runs else None)

    return _Work(members, emit_of, carry).done()


def exit_code(endings: Iterable[Ending]) -> ExitCode:
    """That of the worst ending. One that was not begun is no worse than what it waited for."""
    codes = {
        ending.error.exit_code if isinstance(ending.error, ProvisionError) else ExitCode.FAILED
        for ending in endings
        if ending.error and not isinstance(ending.error, NotBegun)
    }
    return next((code for code in WORST if code in codes), ExitCode.DONE)


@dataclass
class _Work:
    """Who is at work, and who has ended; the others wait."""

    members: Sequence[Member]
    emit_of: Callable[[str], Emit]
    carry: Callable[[Member], Ending]
    endings: dict[str, Ending] = field(default_factory=dict)
    threads: dict[str, threading.Thread] = field(default_factory=dict)
    ended: SimpleQueue[None] = field(default_factory=SimpleQueue)
    stopped: bool = False

    def done(self) -> list[Ending]:
        while len(self.endings) < len(self.members):
            try:
                self._begin()
                if len(self.endings) < len(self.members):
                    self.ended.get()
            except KeyboardInterrupt:  # of which the main thread alone is told
                self.stopped = True
                self.threads = {name: thread for name, thread in self.threads.items() if thread.ident}
                for thread in self.threads.values():
                    process.interrupt(thread)
        for thread in self.threads.values():
            thread.join()
        return list(self.endings.values())

    def _begin(self) -> None:
        """Begin with all that can, and note of those that cannot any more why."""
        for member in self.members:
            if member.host in self.threads or member.host in self.endings:
                continue
            if why := self._hindrance(member):
                self.endings[member.host] = Ending(member, why)
                self.emit_of(member.host)(RunFinished(result=RunResult.FAILED, seconds=0, error=why.message))
            elif all(name in self.endings for name in member.after):
                self.threads[member.host] = threading.Thread(target=self._work, args=[member], name=member.host)
                self.threads[member.host].start()

    def _work(self, member: Member) -> None:
        self.endings[member.host] = self.carry(member)
        self.ended.put(None)

    def _hindrance(self, member: Member) -> ProvisionError | None:
        for name, what in member.after.items():
            if (first := self.endings.get(name)) and first.error:
                return NotBegun(f"not begun: it needs {name} for {what}, and that is not proven")
        return Interrupted("not begun: interrupted") if self.stopped else None


def _request(asked: Request, host: str, machine: Machine) -> Request:
    """What is asked of one host: `--erase` names disks of several machines."""
    disks = [disk.serial for disk in machine.passport.system_disks]
    erase = frozenset(serial for serial in asked.erase if any(same_serial(serial, known) for known in disks))
    return asked.model_copy(update={"host": host, "onto": machine.name, "erase": erase})


def _place(site: Site, hosts: Iterable[Host], person: Person | None) -> Mapping[str, Machine]:
    """The machine of each host. Raises Refused for two hosts on one."""
    placed: dict[str, Machine] = {}

    def ask(host: Host, fitting: list[Machine]) -> Machine:
        free = [machine.name for machine in fitting if machine not in placed.values()]
        if person is None:
            raise Refused(
                f"several spares could play `{host.name}`: {', '.join(machine.name for machine in fitting)}",
                hint=f"write into machines.yml which one does (`plays: {host.name}`)",
            )
        return site.machine(person.choose(f"Which machine becomes {host.name}?", free)) if free else fitting[0]

    for host in hosts:
        require_provisioned(host)
        machine = pick_machine(site, host, None, lambda own: True, partial(ask, host))
        if other := next((name for name, taken in placed.items() if taken == machine), None):
            raise Refused(
                f"`{machine.name}` is the only machine for `{other}` and for `{host.name}`, and cannot become both",
                hint="leave one of them out, or add a spare to machines.yml",
            )
        placed[host.name] = machine
    return placed
