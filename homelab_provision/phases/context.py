"""What the phases of one rebuild share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from homelab_provision.doors.ssh import Ssh
from homelab_provision.events import Emit, Notice
from homelab_provision.operators import Operator
from homelab_provision.phases.plan import Plan
from homelab_provision.phases.session import Session
from homelab_provision.runs.store import Run
from homelab_provision.site.models import Host, Machine, Site
from homelab_provision.ways import Way, way_called


class Person(Protocol):
    """Who watches: can be asked, on a terminal."""

    def confirm(self, text: str, expected: str) -> None:
        """Return when `expected` was typed; raise otherwise."""

    def ask(self, text: str) -> str:
        """Return what was typed."""

    def choose(self, text: str, options: Sequence[str]) -> str:
        """Return one of `options`."""


@dataclass(frozen=True)
class Rebuild:
    """A rebuild on its way: an open site, what was decided, hands at the machine, and who is told."""

    session: Session
    run: Run
    plan: Plan
    operator: Operator
    emit: Emit
    person: Person
    consent: bool  # --yes, or the host's name typed earlier in this run
    unattended: bool = False  # --yes: nobody is asked anything
    code: str | None = None  # `--confirm-code CODE`; empty: it has to be asked for; `None`: nobody wants it

    @property
    def site(self) -> Site:
        return self.session.site

    @property
    def ssh(self) -> Ssh:
        return self.session.ssh

    @property
    def host(self) -> Host:
        return self.site.host(self.plan.host)

    @property
    def machine(self) -> Machine:
        return self.site.machine(self.plan.machine)

    @property
    def way(self) -> Way:
        return way_called(self.plan.way)

    def say(self, text: str) -> None:
        self.emit(Notice(text=text))
