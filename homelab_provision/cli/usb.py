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
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@site_option
@click.option("--serial", help="Serial number of the stick; needed with --yes for a real device.")
@click.option("--force", is_flag=True, help="Replace a file that is not a stick image.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def write(target: Path, site_dir: Path | None, serial: str | None, force: bool, yes: bool) -> None:
    """Write the site's rescue stick to TARGET: a file, or a real USB stick.

    \b
    Examples:
      provision usb write rescue.img
      provision usb write /dev/sdX          asks for the stick's serial number
    """
    from homelab_provision import paths
    from homelab_provision.cli.render import renderer
    from homelab_provision.identity import load as load_identities
    from homelab_provision.image.rescue import build_rescue
    from homelab_provision.site import load_site
    from homelab_provision.stick_target import describe_target, is_device, refusals, write_stick
    from homelab_provision.vault import Vault
    from homelab_provision.ways.usb import site_stick

    site = load_site(find_site(site_dir))
    identities = load_identities(Vault.of(site.root, name=site.name, create=site.lab is not None), site.name)
    with renderer() as show:
        stick = site_stick(site.name, identities.site, build_rescue(paths.cache(), show), show)
        if not is_device(target):
            written = write_stick(stick.image, target, show, force=force)
        else:
            facts, size = describe_target(target), stick.image.stat().st_size
            if problems := refusals(facts, size, facts.serial):
                raise Refused(
                    f"{target} will not be written",
                    evidence="\n".join(problems),
                    hint="plug in a USB stick and name it: `lsblk -o NAME,TRAN,SIZE,SERIAL`",
                )
            if not yes:
                show.confirm(
                    f"Type the serial number `{facts.serial}` to erase {target} ({facts.model})", facts.serial or ""
                )
                serial = facts.serial
            if problems := refusals(facts, size, serial):
                raise Refused(f"{target} will not be written", evidence="\n".join(problems))
            written = write_stick(stick.image, facts, show)
    tell(f"{target}: {written}")
