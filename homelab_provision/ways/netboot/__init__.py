"""The way `netboot`: the machine's firmware asks the network, and for as long as a rebuild waits there is an answer.

Beside the router's DHCP, which stays what it was. Only the machine that is meant is answered, and only once: when the
rescue has announced itself and answered, nothing serves any more, so that no machine can fall into a loop.

    firmware ── DHCP offer beside the router's: here is a loader ──► shim, GRUB (TFTP)
    GRUB     ── kernel, rescue, and what makes it this site's (HTTP)
    rescue   ── makes a host key, announces its public half (HTTP) ──► pinned for this start

Nothing secret goes over the wire. Who listens gets Debian's loaders and kernel, the rescue, the controller's public
key, and a token that has been used. Who can also send in the machine's name, and is faster than the machine, could pass
for its rescue: two announcements stop the run, and `--confirm-code` compares what stands on the machine's own screen.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from homelab_provision.doors.process import environment
from homelab_provision.events import Emit
from homelab_provision.identity.identities import SiteIdentity
from homelab_provision.image.rescue import Rescue
from homelab_provision.lab import reach
from homelab_provision.operators import Operator
from homelab_provision.site.models import Machine
from homelab_provision.ways import Medium, Served, Start, rescue_id
from homelab_provision.ways.netboot import server

ONE_AT_A_TIME = True  # the ports are there once


class Netboot:
    """The way `netboot`."""

    rank = 20

    def objection(self, machine: Machine, answers: bool) -> str | None:
        if shutil.which("dnsmasq", path=environment()["PATH"]) is None:
            return "`dnsmasq` is not installed on this computer"
        return None

    def prepare(self, site: str, identity: SiteIdentity, rescue: Rescue, emit: Emit) -> Medium:
        return Medium(rescue_id=rescue_id(site, identity, rescue, "netboot"), path=rescue.directory)

    @contextmanager
    def serving(self, start: Start) -> Iterator[Served]:
        with reach.wire(start.site) as wire, server.serving(wire, start) as announced:
            start.operator.start_from_network(start.machine)
            yield announced

    def leave(self, operator: Operator, machine: Machine) -> None:
        """Nothing is left: what served is gone since the rescue answered."""


WAY = Netboot()
