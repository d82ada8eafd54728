"""The way `usb`: the rescue as a bootable stick.

The stick belongs to the site, not to a run: written once, it can lie on the shelf until a bad evening. It
carries the rescue's own private host key (the machine must be able to prove that it runs our rescue), so
its image is readable by its owner only. A lost one is made worthless by a new key (`identities.revoke_rescue`).
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from homelab_provision import files, paths
from homelab_provision.events import Emit, step
from homelab_provision.identity.identities import SiteIdentity
from homelab_provision.image.image import SHORT
from homelab_provision.image.medium import HostKey
from homelab_provision.image.rescue import Rescue
from homelab_provision.image.stick import build_stick
from homelab_provision.operators import Operator
from homelab_provision.site.models import Machine
from homelab_provision.ways import Medium, Served, Start, personal, rescue_id


@dataclass(frozen=True)
class Stick:
    """It brings its key, and tells nobody how far it has come."""

    public: str

    def host_key(self) -> str:
        return self.public

    def progress(self) -> None:
        return None


class Usb:
    """The way `usb`."""

    rank = 90

    def objection(self, machine: Machine, answers: bool) -> str | None:
        return None  # whether a stick boots is seen at the machine

    def prepare(self, site: str, identity: SiteIdentity, rescue: Rescue, emit: Emit) -> Medium:
        return site_stick(site, identity, rescue, emit)

    @contextmanager
    def serving(self, start: Start) -> Iterator[Served]:
        start.operator.start_from_stick(start.machine, start.medium.path)
        yield Stick(start.identity.rescue.public)

    def leave(self, operator: Operator, machine: Machine) -> None:
        operator.take_stick(machine)


WAY = Usb()


def site_stick(site: str, identity: SiteIdentity, rescue: Rescue, emit: Emit) -> Medium:
    """The image of this site's stick, made if the rescue or the keys have changed."""
    name = rescue_id(site, identity, rescue, identity.rescue.public)
    folder = paths.private(paths.state() / "sticks")
    image = folder / f"{name}.img"
    with files.exclusive(paths.private(paths.locks()) / "sticks.lock"):  # several rebuilds may want it at one moment
        if not image.exists():
            with step(emit, "make the rescue stick"):
                draft = image.with_suffix(".new")
                shows = HostKey(identity.rescue.private, identity.rescue.public)
                build_stick(rescue, personal(identity, shows, name), draft)
                draft.replace(image)
                for old in _made(site):
                    if old != image:
                        old.unlink()
    return Medium(rescue_id=name, path=image)


def forget_sticks(site: str) -> None:
    """Remove the images of this site's sticks: the key in them is revoked."""
    for image in _made(site):
        image.unlink(missing_ok=True)


def _made(site: str) -> list[Path]:
    # Not only what begins with the site's name: `home-2` is another site than `home`.
    return list(paths.private(paths.state() / "sticks").glob(f"{glob.escape(site)}-{'[0-9a-f]' * SHORT}.img"))
