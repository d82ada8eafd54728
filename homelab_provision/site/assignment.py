"""Writing down who plays whom, and which machine is new: what the toolkit changes in a site's own file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from homelab_provision import files, paths
from homelab_provision.errors import ProvisionError, UsageError
from homelab_provision.site.adding import lines, with_machine
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
    hint = f"edit it by hand: `{machine}` plays `{host}` now, the machine that did gets `distrusted_as: [{host}]`"
    with files.exclusive(paths.private(paths.locks()) / "machines.lock"):  # several rebuilds may end at one moment
        document = read_document(site.root, MACHINES_FILE)
        now = assemble(site.root, site.hosts, document, [])
        wanted = cast_play(now.machines, now.host(host).name, now.machine(machine).name)
        _replace(site, lambda text: rewrite(text, host, machine), wanted, hint)


def record_machine(site: Site, machine: Machine, remark: str) -> None:
    """Write a new machine into machines.yml, behind all others, with a `remark` for the reader; all else stays.

    As careful as `record_player`, and it raises the same. UsageError: there is a machine of that name now.
    """
    document = read_document(site.root, MACHINES_FILE)
    now = assemble(site.root, site.hosts, document, [])
    if machine.name in now.machines:
        raise UsageError(f"there is a machine `{machine.name}` already", hint="choose another name")
    wanted = {**now.machines, machine.name: machine}
    hint = "write it there by hand, below `machines:`:\n\n" + "\n".join(f"  {line}" for line in lines(machine, remark))
    _replace(site, lambda text: with_machine(text, machine, remark), wanted, hint)


def _replace(site: Site, change: Callable[[str], str | None], wanted: Mapping[str, Machine], by_hand: str) -> None:
    """Replace machines.yml by its changed text if that says what is wanted, and nothing else."""
    path = Path(os.path.realpath(site.root / MACHINES_FILE))  # a link stays a link
    text = path.read_bytes().decode()
    changed = change(text)
    if changed is None:
        raise _cannot_write(path, by_hand, None)
    try:
        said = assemble(site.root, site.hosts, parse_document(MACHINES_FILE, changed), []).machines
    except SiteError as error:
        raise _cannot_write(path, by_hand, error.message) from None
    if said != wanted:
        raise _cannot_write(path, by_hand, None)
    if changed != text:
        files.rewrite(path, changed.encode())


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


def _cannot_write(path: Path, by_hand: str, evidence: str | None) -> ProvisionError:
    return ProvisionError(
        f"{path} is written in a way that cannot be changed without risk; it is as it was",
        hint=by_hand,
        evidence=evidence,
    )
