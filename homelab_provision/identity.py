"""Who is who: SSH keys and machine-ids, made once and kept in the site's vault.

A rebuilt host shows the same SSH host key and machine-id as before, whatever box plays it; so
`known_hosts` can be generated and strict checking never has to be switched off.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from homelab_provision.vault import Vault

SITE = "site"


@dataclass(frozen=True)
class KeyPair:
    """An Ed25519 key: the private half in OpenSSH's file format, the public half as `ssh-ed25519 AAAA…`."""

    public: str
    private: str = field(repr=False)


@dataclass(frozen=True)
class SiteIdentity:
    """`controller` logs in everywhere; `rescue` is the host key of the site's rescue system."""

    controller: KeyPair
    rescue: KeyPair


@dataclass(frozen=True)
class HostIdentity:
    """What makes a machine this host: its SSH host key and its machine-id (32 hexadecimal digits)."""

    host_key: KeyPair
    machine_id: str


@dataclass(frozen=True)
class Identities:
    site: SiteIdentity
    hosts: Mapping[str, HostIdentity]


def load(vault: Vault, *hosts: str) -> Identities:
    """The identities of the site and of `hosts`; what is missing is made and kept."""
    stored = vault.read([SITE, *hosts])
    for name in (SITE, *hosts):
        if name not in stored:
            stored[name] = _new_site() if name == SITE else _new_host()
            vault.write(name, stored[name])
    site = stored[SITE]
    return Identities(
        SiteIdentity(_pair(site, "controller"), _pair(site, "rescue")),
        {name: HostIdentity(_pair(stored[name], "host_key"), stored[name]["machine_id"]) for name in hosts},
    )


def known_hosts(identities: Identities, rescue_alias: str) -> str:
    """The text of a `known_hosts` file, by host-key alias."""
    lines = [f"{rescue_alias} {identities.site.rescue.public}"]
    lines += [f"{name} {host.host_key.public}" for name, host in identities.hosts.items()]
    return "\n".join(lines) + "\n"


def _new_site() -> dict[str, str]:
    return {**_new_key("controller"), **_new_key("rescue")}


def _new_host() -> dict[str, str]:
    return {**_new_key("host_key"), "machine_id": secrets.token_hex(16)}


def _new_key(name: str) -> dict[str, str]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return {f"{name}_private": private.decode(), f"{name}_public": public.decode()}


def _pair(values: Mapping[str, str], name: str) -> KeyPair:
    return KeyPair(public=values[f"{name}_public"], private=values[f"{name}_private"])
