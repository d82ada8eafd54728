"""`provision usb`: the rescue stick of a site."""

from __future__ import annotations

from pathlib import Path

import click

from homelab_provision.cli.options import find_site, site_option, tell
from homelab_provision.errors import Refused


@click.group()
def usb() -> None:
    """The rescue stick: written once for a site, it lies on the shelf until a bad evening."""


@usb.command()
@site_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def revoke(site_dir: Path | None, yes: bool) -> None:
    """Make every rescue stick of the site worthless, because one is lost or was lent: write new ones afterwards.

    \b
    The site gets a new rescue key. A machine that starts from an old stick is a stranger from then on:
    it is told nothing, and gets nothing.

    \b
    Example:
      provision usb revoke
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.identity.identities import revoke_rescue
    from homelab_provision.runs import lock
    from homelab_provision.site.loading import load_site
    from homelab_provision.site.vault.store import Vault
    from homelab_provision.ways.usb import forget_sticks

    site = load_site(find_site(site_dir))
    vault = Vault.of(site.root, name=site.name)
    with renderer() as show:
        if not yes:
            show.confirm(f"Type `{site.name}` to revoke every rescue stick of this site", site.name)
        # A rebuild at work trusts the key that it began with: none may go on while that key is revoked.
        hosts = sorted(f"host-{host.name}" for host in site.hosts.values() if host.provisioned)
        with lock.locked(hosts, "usb revoke"):
            revoked = revoke_rescue(vault, site.name)
            forget_sticks(site.name)
    tell(
        f"revoked: {revoked}. Write a new stick with `provision usb write`. If a host was rebuilt since the old one "
        "was lost: `provision identity rotate HOST`"
    )


@usb.command()
@click.argument("target", type=click.Path(path_type=Path))
@site_option
@click.option("--serial", help="Serial number of the stick; needed with --yes for a real device.")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def write(target: Path, site_dir: Path | None, serial: str | None, force: bool, yes: bool) -> None:
    """Write the site's rescue stick to TARGET: a file whose name ends in .img, or a real USB stick.

    \b
    Examples:
      provision usb write rescue.img
      provision usb write /dev/sdX          asks for the stick's serial number
    """
    from homelab_provision import paths
    from homelab_provision.cli.render import renderer
    from homelab_provision.identity.identities import load as load_identities
    from homelab_provision.image.block_device import TargetFacts, describe_target
    from homelab_provision.image.rescue import build_rescue
    from homelab_provision.image.stick_target import find_target, refusals, require_same, write_stick
    from homelab_provision.site.loading import load_site
    from homelab_provision.site.vault.store import Vault
    from homelab_provision.ways.usb import site_stick

    def allowed(facts: TargetFacts, size: int, confirmed: str | None) -> TargetFacts:
        if problems := refusals(facts, size, confirmed):
            raise Refused(
                f"{target} will not be written",
                evidence="\n".join(problems),
                hint="plug in a USB stick and name it: `lsblk -o NAME,TRAN,SIZE,SERIAL`",
            )
        return facts

    place = find_target(target, force=force)
    if isinstance(place, TargetFacts):
        allowed(place, 0, place.serial)  # what no confirmation can mend is said at once
    site = load_site(find_site(site_dir))
    identities = load_identities(
        Vault.of(site.root, name=site.name, create=site.lab is not None), site.name, all_hosts=site.hosts.values()
    )
    with renderer() as show:
        stick = site_stick(site.name, identities.site, build_rescue(paths.cache(), show), show)
        if isinstance(place, TargetFacts):
            size = stick.path.stat().st_size
            allowed(place, size, place.serial)
            if not yes:
                question = f"Type the serial number `{place.serial}` to erase {target} ({place.model})"
                show.confirm(question, place.serial or "")
                serial = place.serial
            now = describe_target(place.path)  # somebody had all the time to pull it
            require_same(place, now)
            place = allowed(now, size, serial)
        written = write_stick(stick.path, place, show, force=force)
    tell(f"{target}: {written}")
