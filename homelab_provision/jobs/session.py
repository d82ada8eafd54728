"""An open site for the time of one command: its description, its secrets, SSH to its hosts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.doors.ssh import Ssh, opened
from homelab_provision.errors import UsageError
from homelab_provision.identity import Identities
from homelab_provision.identity import load as load_identities
from homelab_provision.lab import reach
from homelab_provision.site import Host, Site, load_site
from homelab_provision.site.vault.store import Vault


@dataclass(frozen=True)
class Session:
    site: Site
    hosts: tuple[Host, ...]
    ssh: Ssh
    vault: Vault
    identities: Identities


@contextmanager
def session(site_dir: Path, names: Sequence[str] = ()) -> Iterator[Session]:
    """Open a site for these hosts (none named: all that are provisioned)."""
    site = load_site(site_dir)
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
    vault = Vault.of(site.root, name=site.name, create=site.lab is not None)
    identities = load_identities(vault, site.name, *hosts, all_hosts=site.hosts.values())
    with opened(identities.credentials, addresses, reach.door(site)) as ssh:
        yield Session(site, tuple(hosts), ssh, vault, identities)
