"""How a machine gets into the rescue system. Each way is one module in this folder, and its name is the module's.

A way is independent of who acts on the box (`operators`): the stick that a person plugs into a real Wyse is byte for
byte the one that the lab plugs into a virtual one. What has to come of each is the same: the rescue answers under its
pinned key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from homelab_provision import paths
from homelab_provision.doors.ssh import Ssh
from homelab_provision.errors import Refused, UsageError
from homelab_provision.events import Emit
from homelab_provision.identity.identities import SiteIdentity
from homelab_provision.image.image import SHORT
from homelab_provision.image.medium import Announcement, HostKey, personalisation
from homelab_provision.image.rescue import Rescue
from homelab_provision.operators import Operator
from homelab_provision.site.models import Machine, Site

# A rescue that nobody talks to goes back to the old system after this many seconds.
DEADMAN_SECONDS = 900


class Medium(BaseModel):
    """What a way has made to start a machine from; `rescue_id` is what the rescue on it calls itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rescue_id: str
    path: Path


@dataclass(frozen=True)
class Start:
    """A machine of a site that is to be started into the rescue, by hands that are there for it."""

    site: Site
    identity: SiteIdentity
    rescue: Rescue
    medium: Medium
    machine: Machine
    operator: Operator
    ssh: Ssh
    system: str  # the name that ssh knows the system by that is on the machine now, if that answers


class Served(Protocol):
    """What is known of a start while the machine is on its way."""

    def host_key(self) -> str | None:
        """The public host key that the rescue will show (`ssh-ed25519 AAAA…`); `None`: it is not known yet."""

    def progress(self) -> str | None:
        """How far the machine has come, and what may be in its way; `None`: from here nobody sees that."""


class Way(Protocol):
    """How a machine gets into the rescue system.

    `rank` orders the ways for `auto`, the safest first: that which leaves the machine as it was where it fails, then
    that which needs no hands, then the others.
    """

    rank: int

    def objection(self, machine: Machine, answers: bool) -> str | None:
        """Why the machine cannot get there in this way now; `None`: it can. `answers` tells whether the system that is
        on it lets us in."""

    def prepare(self, site: str, identity: SiteIdentity, rescue: Rescue, emit: Emit) -> Medium:
        """Make what is needed. As long as the rescue and the keys are the same, it is what was made before."""

    def serving(self, start: Start) -> AbstractContextManager[Served]:
        """Start the machine, and serve it whatever it asks for until the rescue has answered or was given up."""

    def leave(self, operator: Operator, machine: Machine) -> None:
        """See to it that nothing of the way is left: not at the machine, not on the network."""


def rescue_id(site: str, identity: SiteIdentity, rescue: Rescue, brought: str) -> str:
    """What a rescue calls itself: another name for another rescue, for other keys, and for what a way brings along."""
    seed = "\n".join([rescue.digest, identity.controller.public, brought, str(DEADMAN_SECONDS)])
    return f"{site}-{hashlib.sha256(seed.encode()).hexdigest()[:SHORT]}"


def personal(identity: SiteIdentity, shows: HostKey | Announcement, name: str) -> bytes:
    """The initramfs that makes a rescue this site's: the controller may log in, and `shows` is as whom it answers."""
    return personalisation(f"{identity.controller.public} homelab-provision\n", shows, name, DEADMAN_SECONDS)


@dataclass(frozen=True)
class Chosen:
    """The way that `auto` has found, and why not those before it: name → objection."""

    name: str
    objections: Mapping[str, str]


def choose(machine: Machine, answers: bool) -> Chosen:
    """The safest way that the machine can go. Raises `Refused` when it can go none."""
    objections: dict[str, str] = {}
    for name in sorted(paths.ways(), key=lambda each: way_called(each).rank):
        objection = way_called(name).objection(machine, answers)
        if objection is None:
            return Chosen(name, objections)
        objections[name] = objection
    told = "; ".join(f"{name}: {objection}" for name, objection in objections.items())
    raise Refused(f"{machine.name} cannot get into the rescue system: {told}")


def way_called(name: str) -> Way:
    """The way with this name. Raises `UsageError` for one that there is not."""
    if name not in paths.ways():
        raise UsageError(f"there is no way `{name}` into the rescue system", hint=f"one of: {', '.join(paths.ways())}")
    way: Way = import_module(f"{__name__}.{name}").WAY
    return way


def one_at_a_time(name: str) -> bool:
    """Whether machines wait until the rescue of the one before has answered; its module says so."""
    return bool(getattr(import_module(f"{__name__}.{name}"), "ONE_AT_A_TIME", False))
