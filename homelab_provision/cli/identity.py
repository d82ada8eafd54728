"""`provision identity`: new keys where old ones are in other hands."""

from __future__ import annotations

from pathlib import Path

import click

from homelab_provision.cli.options import find_site, site_option, tell


@click.group()
def identity() -> None:
    """What makes a machine a host: its SSH key, its certificate, its machine-id."""


@identity.command()
@click.argument("host")
@site_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def rotate(host: str, site_dir: Path | None, yes: bool) -> None:
    """Give HOST a new SSH key, certificate and machine-id, because a box that was HOST is in other hands.

    \b
    They are made in the vault; a rebuild puts them on the machine. Until then HOST, if it is running,
    is a stranger: what still shows the old key may be the thief's, so nothing is sent to it.

    \b
    Example:
      provision identity rotate db-wyse
      provision rebuild db-wyse --keep-data
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.identity.identities import rotate as rotate_identity
    from homelab_provision.runs import lock
    from homelab_provision.site.loading import load_site
    from homelab_provision.site.vault.store import Vault

    site = load_site(find_site(site_dir))
    wanted = site.host(host)
    vault = Vault.of(site.root, name=site.name)
    with renderer() as show:
        if not yes:
            show.confirm(f"Type `{host}` to take its identity out of use", host)
        with lock.locked([f"host-{host}"], "identity rotate"):
            retired = rotate_identity(vault, wanted)
    player = site.player_of(host)
    onto = f" ({player.name} plays it; without --keep-data, or onto another machine, as you like)" if player else ""
    tell(f"{host}: out of use is the SSH host key {retired}, with its certificate and machine-id")
    tell(f"now: provision rebuild {host} --keep-data{onto}")
    if wanted.secrets:
        tell(
            f"the box also knew these passwords: {', '.join(wanted.secrets)}. Change them before the rebuild: "
            f"`ansible-vault edit {site.root}/vault/secrets.yml`"
        )
    if site.vpn and "vpn" in wanted.roles:
        client = next((name for name, each in site.vpn.clients.items() if each.host == host), "server")
        tell(f"the box also had a key of the VPN: `provision vpn rekey {client}`")
    tell(
        "clients that trust the site's authority accept the old certificate until it ends: "
        "`provision identity rotate-authority` ends that for all hosts"
    )


@identity.command("rotate-authority")
@site_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def rotate_authority(site_dir: Path | None, yes: bool) -> None:
    """Give the site a new certificate authority, so that no certificate of a stolen box is accepted any more.

    \b
    Every host gets its new certificate with its next rebuild. Clients need the new authority:
    `provision config ca`; until a host is rebuilt, they refuse it.
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.identity.identities import rotate_authority as make_anew
    from homelab_provision.runs import lock
    from homelab_provision.site.loading import load_site
    from homelab_provision.site.vault.store import Vault

    site = load_site(find_site(site_dir))
    hosts = sorted(host.name for host in site.hosts.values() if host.provisioned)
    vault = Vault.of(site.root, name=site.name)
    with renderer() as show:
        if not yes:
            show.confirm(f"Type `{site.name}` to make a new authority; {len(hosts)} hosts must be rebuilt", site.name)
        with lock.locked([f"host-{name}" for name in hosts], "identity rotate-authority"):
            make_anew(vault, site.name, site.hosts.values())
    tell(
        "a new authority: give it to the clients with `provision config ca`, and rebuild "
        f"{', '.join(hosts)} (--keep-data)"
    )
