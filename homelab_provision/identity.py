"""Who is who: keys, certificates, machine-ids and passwords, made once and kept in the site's vault.

A rebuilt host shows the same SSH host key, certificate and machine-id as before, whatever box plays it; so
`known_hosts` can be generated and strict checking never has to be switched off, and clients notice nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from homelab_provision.certificates import Certificate, fits, issue, new_authority
from homelab_provision.errors import UsageError
from homelab_provision.site import Host, Site
from homelab_provision.vault import SITE, Vault
from homelab_provision.vault_values import SECRETS

# What a password of the site is called in playbooks: `secret_spans`.
SECRET_PREFIX = "secret_"


@dataclass(frozen=True)
class KeyPair:
    """An Ed25519 key: the private half in OpenSSH's file format, the public half as `ssh-ed25519 AAAA…`."""

    public: str
    private: str = field(repr=False)


@dataclass(frozen=True)
class SiteIdentity:
    """`controller` logs in everywhere; `rescue` is the host key of the site's rescue system; `authority` signs the
    certificates of the hosts."""

    controller: KeyPair
    rescue: KeyPair
    authority: Certificate


@dataclass(frozen=True)
class HostIdentity:
    """What makes a machine this host: its SSH host key, its certificate, its machine-id (32 hexadecimal digits)."""

    host_key: KeyPair
    certificate: Certificate
    machine_id: str


@dataclass(frozen=True)
class Identities:
    site: SiteIdentity
    hosts: Mapping[str, HostIdentity]


def load(vault: Vault, site: str, *hosts: Host) -> Identities:
    """The identities of the site called `site` and of `hosts`; what is missing, the hosts' passwords too, is made and
    kept."""
    stored = vault.read([SITE, SECRETS, *(host.name for host in hosts)])
    before = {name: dict(values) for name, values in stored.items()}
    of_site = stored.setdefault(SITE, {})
    _complete(
        of_site,
        {
            "controller_private": partial(_new_key, "controller"),
            "rescue_private": partial(_new_key, "rescue"),
            "authority_private": lambda: _kept("authority", new_authority(site)),
        },
    )
    authority = _certificate(of_site, "authority")
    for host in hosts:
        values = stored.setdefault(host.name, {})
        _complete(
            values,
            {
                "host_key_private": partial(_new_key, "host_key"),
                "machine_id": lambda: {"machine_id": secrets.token_hex(16)},
            },
        )
        if "tls_private" not in values or not fits(_certificate(values, "tls"), authority, host.name, host.address):
            values |= _kept("tls", issue(authority, host.name, host.address))
    passwords = {SECRET_PREFIX + name for host in hosts for name in host.secrets}
    if passwords:
        kept = stored.setdefault(SECRETS, {})
        kept |= {name: secrets.token_urlsafe(24) for name in sorted(passwords - kept.keys())}
    for name, values in stored.items():
        if values != before.get(name):
            vault.write(name, values)
    return Identities(
        SiteIdentity(_pair(of_site, "controller"), _pair(of_site, "rescue"), authority),
        {host.name: _host(stored[host.name]) for host in hosts},
    )


def certificate_of_authority(site: Site) -> str:
    """The certificate of the site's authority, as PEM. Reading makes nothing; raises UsageError if there is none."""
    stored = Vault.of(site.root, name=site.name).read([SITE]) if Vault.at(site.root) else {}
    if "authority_certificate" not in stored.get(SITE, {}):
        raise UsageError(
            f"site `{site.name}` has no certificate authority yet", hint="it is made together with the first host"
        )
    return stored[SITE]["authority_certificate"]


def known_hosts(identities: Identities, rescue_alias: str) -> str:
    """The text of a `known_hosts` file, by host-key alias."""
    lines = [f"{rescue_alias} {identities.site.rescue.public}"]
    lines += [f"{name} {host.host_key.public}" for name, host in identities.hosts.items()]
    return "\n".join(lines) + "\n"


def _complete(values: dict[str, str], makers: Mapping[str, Callable[[], dict[str, str]]]) -> None:
    """Add what is missing: a key of `values` → what makes it (and what belongs to it)."""
    for key, make in makers.items():
        if key not in values:
            values |= make()


def _host(values: Mapping[str, str]) -> HostIdentity:
    return HostIdentity(_pair(values, "host_key"), _certificate(values, "tls"), values["machine_id"])


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


def _kept(name: str, made: Certificate) -> dict[str, str]:
    return {f"{name}_private": made.private, f"{name}_certificate": made.certificate}


def _certificate(values: Mapping[str, str], name: str) -> Certificate:
    return Certificate(values[f"{name}_certificate"], values[f"{name}_private"])
