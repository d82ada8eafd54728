"""What makes a written disk one particular host: a few small files, as a tar archive for the new root.

The archive holds the host's private key. It exists in memory only and goes through the SSH connection's
standard input.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import Environment, StrictUndefined

from homelab_provision import paths
from homelab_provision.identity.identities import HostIdentity, SiteIdentity
from homelab_provision.identity.signing import KEY_FILE
from homelab_provision.site.models import Host, Site

RELEASE = "etc/homelab-provision/release.json"
TLS = "etc/homelab-provision/tls"


@dataclass(frozen=True)
class File:
    text: str
    mode: int = 0o644


def files(
    host: Host, identity: HostIdentity, site: SiteIdentity, *, mac: str, release: Mapping[str, str]
) -> dict[str, File]:
    """Path (from the root) → file. `mac` is the network card that gets the host's address."""
    found = {
        "etc/hostname": File(f"{host.name}\n"),
        "etc/hosts": File(f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n::1 localhost ip6-localhost ip6-loopback\n"),
        "etc/machine-id": File(f"{identity.machine_id}\n", 0o444),
        "etc/ssh/ssh_host_ed25519_key": File(identity.host_key.private, 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": File(f"{identity.host_key.public}\n"),
        "root/.ssh/authorized_keys": File(f"{site.controller.public} homelab-provision\n", 0o600),
        f"{TLS}/ca.crt": File(site.authority.certificate),
        f"{TLS}/host.crt": File(identity.certificate.certificate),
        f"{TLS}/host.key": File(identity.certificate.private, 0o600),
        KEY_FILE.removeprefix("/"): File(identity.signing.private, 0o600),
        RELEASE: File(json.dumps(dict(release), indent=2, sort_keys=True) + "\n"),
    }
    if network := network_variables(host, mac):
        found["etc/systemd/network/10-lan.network"] = File(_render("lan.network.j2", network))
        if network.get("dns"):
            found["etc/resolv.conf"] = File(_render("resolv.conf.j2", network))
    return found


def network_variables(host: Host, mac: str) -> dict[str, object] | None:
    """The host's network as the role `base` knows it; `None`: it asks DHCP."""
    if host.network is None:
        return None
    known: dict[str, object] = {"address": str(host.network.address), "mac": mac}
    if host.network.gateway:
        known["gateway"] = str(host.network.gateway)
    if host.network.dns:
        known["dns"] = [str(server) for server in host.network.dns]
    return known


def mac_of(site: Site, host: str) -> str:
    """The network card that carries the host's address: the first of the machine that plays it ("" if none does)."""
    machine = site.player_of(host)
    return machine.passport.macs[0] if machine else ""


def archive(content: Mapping[str, File]) -> bytes:
    """The files as an uncompressed tar archive, owned by root, directories before their files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in paths.folders_above(content):
            tar.addfile(_directory(folder))
        for path, file in sorted(content.items()):
            data = file.text.encode()
            entry = tarfile.TarInfo(path)
            entry.mode, entry.size = file.mode, len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _directory(path: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type = tarfile.DIRTYPE
    entry.mode = 0o700 if path.split("/")[0] == "root" else 0o755
    return entry


def _render(name: str, network: Mapping[str, object]) -> str:
    # The role's own templates: the flash writes what the role would, so converging changes nothing.
    template = paths.content("roles") / "base" / "templates" / name
    jinja = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)
    return jinja.from_string(template.read_text()).render(base_network=network)
