"""Writing down who plays whom: the one change that the toolkit makes to a site's own files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from homelab_provision import files
from homelab_provision.errors import ProvisionError
from homelab_provision.site.document import parse_document, read_document
from homelab_provision.site.loading import assemble
from homelab_provision.site.machines import MACHINES_FILE
from homelab_provision.site.models import Machine, Site
from homelab_provision.site.problems import SiteError
from homelab_provision.site.rewriting import rewrite


def record_player(site: Site, host: str, machine: str) -> None:
    """Write into machines.yml that `machine` plays `host`; comments and order stay.

    Who played it before loses `plays` and is not to be trusted with that name any more (`distrusted_as`).
    The file, which somebody may have edited since the site was loaded, is replaced in one step, and only by one that
    loads again and says exactly this. Raises SiteError if the file is wrong as it is, ProvisionError if it cannot be
    rewritten; it is then as it was.
    """
    document = read_document(site.root, MACHINES_FILE)
    now = assemble(site.root, site.hosts, document, [])
    wanted = cast_play(now.machines, now.host(host).name, now.machine(machine).name)
    path = Path(os.path.realpath(site.root / MACHINES_FILE))  # a link stays a link
    text = path.read_bytes().decode()
    rewritten = rewrite(text, host, machine)
    try:
        said = assemble(site.root, site.hosts, parse_document(MACHINES_FILE, rewritten), []).machines
    except SiteError as error:
        raise _cannot_write(path, host, machine, error.message) from None
    if said != wanted:
        raise _cannot_write(path, host, machine, None)
    if rewritten != text:
        files.rewrite(path, rewritten.encode())


def cast_play(machines: Mapping[str, Machine], host: str, player: str) -> dict[str, Machine]:
    """The machines after `player` became `host`."""
    changed = {}
    for name, machine in machines.items():
        distrusted = [old for old in machine.distrusted_as if not (name == player and old == host)]
        plays = host if name == player else machine.plays
        if name != player and plays == host:
            plays = None
            distrusted += [] if host in distrusted else [host]
        changed[name] = machine.model_copy(update={"plays": plays, "distrusted_as": tuple(distrusted)})
    return changed


def _cannot_write(path: Path, host: str, machine: str, evidence: str | None) -> ProvisionError:
    return ProvisionError(
        f"{path} is written in a way that cannot be changed without risk; it is as it was",
        hint=f"edit it by hand: `{machine}` plays `{host}` now, the machine that did gets `distrusted_as: [{host}]`",
        evidence=evidence,
    )
