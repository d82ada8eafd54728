"""`provision vpn`: what the clients of the VPN get, who they are, and new keys for one that was lost."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from homelab_provision.cli.options import (
    find_site,
    json_option,
    print_json,
    print_picture,
    print_table,
    print_text,
    site_option,
    tell,
)
from homelab_provision.errors import Refused, UsageError

if TYPE_CHECKING:
    from segno import QRCode

    from homelab_provision.site.models import Site
    from homelab_provision.site.vpn import Client, Vpn

QUIET = 4  # modules of margin, which the standard asks for
PIXELS = 8  # of a module


@click.group()
def vpn() -> None:
    """The VPN: who may connect, and what a device needs for it (`provision_vpn` in the site's variables)."""


@vpn.command("list")
@site_option
@json_option
def list_clients(site_dir: Path | None, as_json: bool) -> None:
    """List the clients: addresses, tunnel, and who may connect until when. Needs no password: no key is read."""
    _, tunnel = _described(site_dir)
    today = datetime.now(UTC).date()
    clients = sorted(tunnel.clients.items(), key=lambda each: each[1].number)
    if as_json:
        print_json(
            [
                {
                    "name": name,
                    "number": client.number,
                    "addresses": tunnel.addresses(client.number),
                    "tunnel": client.tunnel,
                    "expires": client.expires,
                    "expired": client.expired(today),
                    "revoked": client.revoked,
                    "host": client.host,
                    "own_key": client.public_key is not None,
                }
                for name, client in clients
            ]
        )
        return
    table = [
        [name, ", ".join(map(str, tunnel.addresses(client.number))), client.tunnel.value, _note(client, today)]
        for name, client in clients
    ]
    print_table(table, ["client", "addresses", "tunnel", "note"])


@vpn.command("client")
@click.argument("name")
@site_option
@click.option("--file", "file", type=click.Path(path_type=Path), help="Write the configuration to a file (mode 0600).")
@click.option("--png", "png", type=click.Path(path_type=Path), help="Write the QR code as a picture (mode 0600).")
@click.option("--qr", is_flag=True, help="Show the QR code in the terminal.")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
def show_client(name: str, site_dir: Path | None, file: Path | None, png: Path | None, qr: bool, force: bool) -> None:
    """Make what the device NAME needs to connect: a file for `wg-quick` and for the apps, or a QR code.

    \b
    Without an option: the QR code if standard output is a terminal, else the text of the file.
    Either holds the device's private key: who has it is that device. Delete files once they are imported.

    \b
    Examples:
      provision vpn client phone                        a QR code to be scanned by the app
      provision vpn client laptop --file wg0.conf       for /etc/wireguard/
    """
    from homelab_provision.identity.identities import load as load_identities
    from homelab_provision.identity.vpn_client import configuration, require_file
    from homelab_provision.site.vault.store import Vault

    if (file is not None) + (png is not None) + qr > 1:
        raise UsageError("one of `--file`, `--png` and `--qr` at a time")
    site, tunnel = _described(site_dir)
    client = _client(tunnel, name)
    require_file(name, client, datetime.now(UTC).date())
    if client.public_key and (png or qr):
        raise UsageError(
            f"`{name}` has made its key itself, so that a QR code would lack it",
            hint=f"`provision vpn client {name} --file FILE`; the file says where the device puts its key",
        )
    for target in (file, png):
        if target is not None:
            _require_free(target, force)
    vault = Vault.of(site.root, name=site.name, create=site.lab is not None)
    identities = load_identities(vault, site.name, all_hosts=site.hosts.values(), vpn=tunnel)
    assert identities.vpn
    text = configuration(tunnel, name, identities.vpn)
    if file is not None:
        _write(file, text.encode())
        tell(f"{file}: {_allowed(tunnel, client)}. {_secret(client)}")
    elif png is not None:
        _write(png, _png(_code(text)))
        tell(f"{png}: scan it with the app of WireGuard; {_allowed(tunnel, client)}. {_secret(client)}")
    elif qr or (sys.stdout.isatty() and not client.public_key):
        _show(name, _code(text))
        tell(f"{name}: in the app of WireGuard, `+` and scan this; {_allowed(tunnel, client)}. {_secret(client)}")
    else:
        print_text(text.rstrip("\n"))


@vpn.command()
@click.argument("name")
@site_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def rekey(name: str, site_dir: Path | None, yes: bool) -> None:
    """Give the client NAME new keys, because its device was lost or stolen. `server`: the VPN's server, whose box was.

    \b
    They are made in the vault; what has the old ones is shut out by the next `provision apply`. The device, or
    the one in its place, gets its file anew. With a new key of the server, every client does.

    \b
    Example:
      provision vpn rekey phone
      provision vpn client phone
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.identity.vpn import rekey as make_anew
    from homelab_provision.runs import lock
    from homelab_provision.site.vault.store import Vault
    from homelab_provision.site.vpn import SERVER

    site, tunnel = _described(site_dir)
    client = None if name == SERVER else _client(tunnel, name)
    if client and client.public_key:
        raise Refused(
            f"`{name}` has made its key itself: only the device makes another one",
            hint="put its new public key in the place of the old one (`public_key` in `provision_vpn`), then "
            "`provision apply`",
        )
    if client and client.revoked:
        raise Refused(f"`{name}` is revoked: its keys open nothing", hint="take `revoked` away first")
    vault = Vault.of(site.root, name=site.name)
    hosts = _to_apply(site, tunnel, client)
    with renderer() as show:
        if not yes:
            show.confirm(f"Type `{name}` to take its keys out of use", name)
        with lock.locked([f"host-{host}" for host in hosts], "vpn rekey"):
            make_anew(vault, name)
    apply = " ".join(["provision apply", *hosts])
    tell(f"{name}: new keys are in the vault; the old ones open the VPN until `{apply}`")
    if client is None:
        tell("every client needs its new file then: `provision vpn client NAME`")
    elif client.host is None:
        tell(f"then, for the device: `provision vpn client {name}`")


def _described(site_dir: Path | None) -> tuple[Site, Vpn]:
    """The site and its VPN. Raises UsageError if it has none."""
    from homelab_provision.site.loading import load_site

    site = load_site(find_site(site_dir))
    if site.vpn is None:
        raise UsageError(
            f"site `{site.name}` has no VPN: `provision_vpn` is not set",
            hint="describe it in group_vars/all; docs/how-to/vpn.md shows how",
        )
    return site, site.vpn


def _client(tunnel: Vpn, name: str) -> Client:
    from homelab_provision.site.models import nearest

    if name not in tunnel.clients:
        raise UsageError(f"the VPN has no client `{name}`", hint=nearest(name, tunnel.clients, "clients"))
    return tunnel.clients[name]


def _note(client: Client, today: date) -> str:
    parts = {
        "revoked": client.revoked,
        f"{'expired' if client.expired(today) else 'expires'} {client.expires}": client.expires,
        f"host {client.host}": client.host,
        "its own key": client.public_key,
    }
    return ", ".join(text for text, holds in parts.items() if holds)


def _to_apply(site: Site, tunnel: Vpn, client: Client | None) -> list[str]:
    """The hosts that know the keys of a client (or of the server): those of role vpn, but for other clients."""
    clients = {each.host for each in tunnel.clients.values() if each.host}
    spared = clients - {client.host} if client else set()
    return [host.name for host in site.hosts.values() if "vpn" in host.roles and host.name not in spared]


def _allowed(tunnel: Vpn, client: Client) -> str:
    from homelab_provision.identity.vpn_client import led
    from homelab_provision.site.vpn import Tunnel

    if client.tunnel is Tunnel.FULL:
        return "everything that the device sends goes through the home"
    return f"what the device sends to {', '.join(led(tunnel, client))} goes through the home"


def _secret(client: Client) -> str:
    if client.public_key:
        return "The device puts its own private key in; the preshared key in it is secret, too"
    return "It holds the device's private key: delete it once it is imported"


def _require_free(target: Path, force: bool) -> None:
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is no directory")
    if target.is_dir() or (target.exists() and not target.is_file()):
        raise UsageError(f"{target} is there, and is no file")
    if (target.exists() or target.is_symlink()) and not force:
        raise Refused(f"{target} is there already", hint="another name, or `--force` to replace it")


def _write(target: Path, content: bytes) -> None:
    from homelab_provision import files

    files.replace(target, content, mode=0o600)


def _code(text: str) -> QRCode:
    import segno

    return segno.make_qr(text, error="l")


def _png(code: QRCode) -> bytes:
    from io import BytesIO

    picture = BytesIO()
    code.save(picture, kind="png", scale=PIXELS, border=QUIET)
    return picture.getvalue()


def _show(name: str, code: QRCode) -> None:
    from io import StringIO

    picture = StringIO()
    code.terminal(picture, border=QUIET, compact=True)
    print_picture(picture.getvalue(), instead=f"provision vpn client {name} --png FILE")
