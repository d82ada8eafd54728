"""`provision lab`: the virtual machines of a lab site."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from homelab_provision.cli.options import find_site, json_option, print_json, print_table, site_option, tell
from homelab_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from homelab_provision.lab.lab import Lab


@click.group()
def lab() -> None:
    """The virtual lab: machines with real firmware on a private network."""


def _lab(site_dir: Path | None) -> Lab:
    from homelab_provision.cli.render import renderer
    from homelab_provision.lab.reach import lab_of
    from homelab_provision.site.loading import load_site

    with renderer() as show:
        return lab_of(load_site(find_site(site_dir)), show, starts=False)


@lab.command()
@site_option
def up(site_dir: Path | None) -> None:
    """Start the lab's network. Machines start when an operator switches them on.

    \b
    Example:
      provision lab up && provision lab status
    """
    for line in _lab(site_dir).up():
        tell(line)


@lab.command()
@site_option
@json_option
def status(site_dir: Path | None, as_json: bool) -> None:
    """Show the machines: power, address, stick."""
    rows = _lab(site_dir).status()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = [
        [row.name, "on" if row.on else "off", str(row.address or ""), row.mac, str(row.stick or "")] for row in rows
    ]
    print_table(table, ["machine", "power", "address", "mac", "stick"])


@lab.command()
@click.argument("machine")
@site_option
def on(machine: str, site_dir: Path | None) -> None:
    """Switch a machine on; it starts from its disk. If it plays a host, wait until that answers."""
    from homelab_provision.cli.render import renderer
    from homelab_provision.jobs.preinstalled import switch_on

    with renderer() as show:
        switch_on(find_site(site_dir), machine, show)


@lab.command()
@click.argument("machine")
@site_option
def install(machine: str, site_dir: Path | None) -> None:
    """Put the host that MACHINE plays onto its virtual disk and switch it on: the old box of the story.

    \b
    Example:
      provision lab install wyse-a       db-wyse lives, and can be lost
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.jobs.preinstalled import preinstall

    with renderer() as show:
        preinstall(find_site(site_dir), machine, show)


@lab.command()
@click.argument("machine")
@site_option
def off(machine: str, site_dir: Path | None) -> None:
    """Cut a machine's power, as if the plug were pulled."""
    _lab(site_dir).machine(machine).power_off()


@lab.command()
@click.argument("host")
@click.argument("command", nargs=-1)
@site_option
def ssh(host: str, command: tuple[str, ...], site_dir: Path | None) -> None:
    """Log in on HOST, or run a command there.

    \b
    Example:
      provision lab ssh db-wyse
      provision lab ssh db-wyse -- uptime
    """
    from homelab_provision.phases.session import session

    with session(find_site(site_dir), [host]) as opened:
        status = opened.ssh.interact(host, *command)
    raise click.exceptions.Exit(ExitCode.FAILED if status else ExitCode.DONE)


@lab.command()
@click.argument("machine")
@site_option
def console(machine: str, site_dir: Path | None) -> None:
    """Watch and use the serial console of a machine (leave with Ctrl-])."""
    from homelab_provision.lab.console import attach

    one = _lab(site_dir).machine(machine)
    if not one.is_on():
        raise ProvisionError(f"{machine} is off", hint=f"provision lab on {machine}")
    attach(one.console_socket)


@lab.command()
@site_option
@click.option("--remove-disks", is_flag=True, help="Throw the virtual disks away, too.")
def down(site_dir: Path | None, remove_disks: bool) -> None:
    """Stop all machines and remove the network."""
    for line in _lab(site_dir).down(remove_disks=remove_disks):
        tell(line)
