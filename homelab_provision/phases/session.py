"""An open site for the time of one command: its description, its secrets, SSH to its hosts. Opened once, handed on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.doors.ssh import Ssh, opened
from homelab_provision.errors import UsageError
from homelab_provision.events import Emit
from homelab_provision.identity.identities import Identities
from homelab_provision.identity.identities import load as load_identities
from homelab_provision.lab import reach
from homelab_provision.site.loading import load_site
from homelab_provision.site.models import Host, Site
from homelab_provision.site.vault.store import Vault


@dataclass(frozen=True)
class Session:
    """`hosts` are those that the command is about; `ssh` reaches them, and what it is told of later."""

    site: Site
    hosts: tuple[Host, ...]
    vault: Vault
    identities: Identities
    ssh: Ssh


@contextmanager
def session(
    site: Site | Path,
    names: Sequence[str] = (),
    *,
    emit: Emit | None = None,
    vault: Vault | None = None,
    keep: bool = True,
) -> Iterator[Session]:
    """Open a site for these hosts (none named: all that are provisioned). A lab is switched on first if there is an
    `emit` to tell it.

    `vault` is the site's own if none is given; without `keep`, keys that are missing are made for this once.
    Raises `UsageError` for a host that cannot be reached.
    """
    site = load_site(site) if isinstance(site, Path) else site
    hosts = [site.host(name) for name in dict.fromkeys(names)] or [
        host for host in site.hosts.values() if host.provisioned
    ]
    addresses = {host.name: host.address for host in hosts if host.address}
    for host in hosts:
        if not host.provisioned or host.name not in addresses:
            raise UsageError(
                f"`{host.name}` is not a provisioned host with an address",
                hint="it needs `ansible_host` and the group `provisioned` in hosts.yml",
            )
    vault = vault or Vault.of(site.root, name=site.name, create=site.lab is not None)
    everybody = site.hosts.values()
    identities = load_identities(vault, site.name, *hosts, all_hosts=everybody, vpn=site.vpn, keep=keep)
    if site.lab and emit:
        reach.lab_of(site, emit).up()
    with opened(identities.credentials, addresses, reach.door(site)) as ssh:
        yield Session(site, tuple(hosts), vault, identities, ssh)
