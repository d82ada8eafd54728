"""Who is who: keys, certificates, machine-ids and passwords, made once and kept in the site's vault.

A rebuilt host shows the same SSH host key, certificate and machine-id as before, whatever box plays it; so
`known_hosts` can be generated and strict checking never has to be switched off, and clients notice nothing.

What was stolen or sold is replaced: the rescue's key when a stick is lost (`revoke_rescue`), a host's keys when its box
is (`rotate`). Only the new key is pinned from then on; of the old one a fingerprint stays, to say whose it was.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from homelab_provision.doors.ssh import RESCUE, Credentials
from homelab_provision.errors import UsageError
from homelab_provision.identity.certificates import Certificate, Named, fits, issue, new_authority, permits, renewed
from homelab_provision.identity.signing import Signer
from homelab_provision.identity.vpn import VpnKeys, complete, keys_of
from homelab_provision.site.models import Host, Site
from homelab_provision.site.values import SECRET_PREFIX
from homelab_provision.site.vault.store import SITE, Vault
from homelab_provision.site.vault.values import SECRETS
from homelab_provision.site.vpn import Vpn
from homelab_provision.site.wireguard import PUBLIC

# In a file of the vault: fingerprint of a key that was replaced → the day on which it was (UTC), as JSON.
RETIRED = "retired_keys"
# In a host's file of the vault: since when its key signs (ISO 8601), and those that signed before it, as JSON.
SIGNING_SINCE = "signing_since"
SIGNERS = "signers"


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
    retired: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of rescue keys that were revoked → when."""


@dataclass(frozen=True)
class HostIdentity:
    """What makes a machine this host: its SSH host key, its certificate, its machine-id (32 hexadecimal digits).

    `signing` signs the records of its backups; `signers` are that key and all before it, each with its time.
    """

    host_key: KeyPair
    certificate: Certificate
    machine_id: str
    signing: KeyPair
    signers: tuple[Signer, ...]
    retired: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of SSH host keys that this host had before its identity was rotated → when."""


@dataclass(frozen=True)
class Identities:
    site: SiteIdentity
    hosts: Mapping[str, HostIdentity]
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """The values of vault/secrets.yml that are text, and nobody else's affair: passwords and keys of the site."""
    vpn: VpnKeys | None = field(default=None, repr=False)

    @property
    def credentials(self) -> Credentials:
        """What SSH needs of them."""
        hosts = {name: host.host_key.public for name, host in self.hosts.items()}
        return Credentials(self.site.controller.private, {RESCUE: self.site.rescue.public, **hosts})


def load(
    vault: Vault,
    site: str,
    *hosts: Host,
    all_hosts: Iterable[Host] = (),
    vpn: Vpn | None = None,
    keep: bool = True,
) -> Identities:
    """The identities of the site called `site` and of `hosts`; what is missing, the passwords of all hosts and the keys
    of the `vpn` too, is made, and kept unless `keep` says not to. The site's authority may sign for those of
    `all_hosts` that are provisioned; when it may not yet (a new host, or an authority that older versions made without
    limits), it gets a new certificate for its key."""
    named = (*hosts, *all_hosts)
    stored, changed = _completed(vault, site, hosts, named, vpn)
    if changed and keep:
        with vault.locked():
            # Somebody else may have written since.
            stored, changed = _completed(vault, site, hosts, named, vpn)
            for name in changed:
                vault.write(name, stored[name])
    of_site = stored[SITE]
    authority = _certificate(of_site, "authority")
    site_identity = SiteIdentity(_pair(of_site, "controller"), _pair(of_site, "rescue"), authority, _retired(of_site))
    kept = stored.get(SECRETS, {})
    texts = tuple(value for name, value in kept.items() if isinstance(value, str) and not name.startswith(PUBLIC))
    of_hosts = {host.name: _host(stored[host.name]) for host in hosts}
    return Identities(site_identity, of_hosts, texts, keys_of(kept, vpn) if vpn else None)


def _completed(
    vault: Vault, site: str, hosts: Sequence[Host], named_hosts: Sequence[Host], vpn: Vpn | None
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What the vault holds of the site and of `hosts` with all that was missing, and the names of the files changed."""
    stored = vault.read([SITE, SECRETS, *(host.name for host in hosts)])
    before = {name: dict(values) for name, values in stored.items()}
    of_site = stored.setdefault(SITE, {})
    named = _named(named_hosts)
    _complete(
        of_site,
        {
            "controller_private": partial(_new_key, "controller"),
            "rescue_private": partial(_new_key, "rescue"),
            "authority_private": lambda: _kept("authority", new_authority(site, named)),
        },
    )
    authority = _certificate(of_site, "authority")
    if not permits(authority, named):
        authority = renewed(authority, named)
        of_site |= _kept("authority", authority)
    for host in hosts:
        values = stored.setdefault(host.name, {})
        _complete(values, _makers_of_a_host())
        if "tls_private" not in values or not fits(_certificate(values, "tls"), authority, host.name, host.address):
            values |= _kept("tls", issue(authority, host.name, host.address))
    # Those of the others, too: the stack of one host has its database on another, which may be played first.
    passwords = {SECRET_PREFIX + name for host in named_hosts for name in host.secrets}
    if passwords or vpn:
        kept = stored.setdefault(SECRETS, {})
        kept |= {name: secrets.token_urlsafe(24) for name in sorted(passwords - kept.keys())}
        if vpn:
            complete(kept, vpn)
    return stored, [name for name, values in stored.items() if values != before.get(name)]


def revoke_rescue(vault: Vault, site: str) -> str:
    """Give the site's rescue system a new host key, so that no stick which was written before is trusted any more.

    Returns the fingerprint of the key that was revoked. Raises UsageError if there is none.
    """
    with vault.locked():
        of_site = vault.read([SITE]).get(SITE, {})
        if "rescue_public" not in of_site:
            raise UsageError(
                f"site `{site}` has no rescue key to revoke: no stick was ever made of it",
                hint="`provision usb write` makes the first one",
            )
        revoked = _retire(of_site, "rescue")
        vault.write(SITE, of_site | _new_key("rescue"))
        return revoked


def rotate(vault: Vault, host: Host) -> str:
    """Give a host a new SSH host key, certificate and machine-id, in the vault alone: the next rebuild writes them.

    Returns the fingerprint of the SSH host key that it had. Raises UsageError if it had none.
    """
    with vault.locked():
        stored = vault.read([SITE, host.name])
        values = stored.get(host.name, {})
        if "host_key_public" not in values or SITE not in stored:
            raise UsageError(
                f"`{host.name}` has no identity yet that could be rotated",
                hint="it is made at the host's first rebuild",
            )
        retired = _retire(values, "host_key")
        _close_signer(values)
        for make in _makers_of_a_host().values():
            values |= make()
        values |= _kept("tls", issue(_certificate(stored[SITE], "authority"), host.name, host.address))
        vault.write(host.name, values)
        return retired


def renew_signing(vault: Vault, host: str, identity: HostIdentity) -> HostIdentity:
    """Give a host whose disk is being written a new key for its records: the one on the old disk counts no more."""
    with vault.locked():
        values = vault.read([host])[host]
        _close_signer(values)
        values |= _new_signing()
        vault.write(host, values)
        return replace(identity, signing=_pair(values, "signing"), signers=_signers(values))


def rotate_authority(vault: Vault, site: str, all_hosts: Iterable[Host]) -> None:
    """Give the site a new certificate authority. The hosts' certificates are made anew by the next `load` of each."""
    with vault.locked():
        of_site = vault.read([SITE]).get(SITE, {})
        if "authority_private" not in of_site:
            raise UsageError(
                f"site `{site}` has no certificate authority yet", hint="it is made together with the first host"
            )
        vault.write(SITE, of_site | _kept("authority", new_authority(site, _named(all_hosts))))


def fingerprint(public: str) -> str:
    """What OpenSSH shows of a public key (`ssh-ed25519 AAAA…`): `SHA256:` and 43 characters."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def retired_on(identity: SiteIdentity | HostIdentity, public: str | None) -> str | None:
    """The day on which a key that somebody shows was taken out of use; `None` if it never was one of these."""
    return identity.retired.get(fingerprint(public)) if public else None


def certificate_of_authority(site: Site) -> str:
    """The certificate of the site's authority, as PEM. Reading makes nothing; raises UsageError if there is none."""
    stored = Vault.of(site.root, name=site.name).read([SITE]) if Vault.at(site.root) else {}
    if "authority_certificate" not in stored.get(SITE, {}):
        raise UsageError(
            f"site `{site.name}` has no certificate authority yet", hint="it is made together with the first host"
        )
    return stored[SITE]["authority_certificate"]


def _complete(values: dict[str, str], makers: Mapping[str, Callable[[], dict[str, str]]]) -> None:
    """Add what is missing: a key of `values` → what makes it (and what belongs to it)."""
    for key, make in makers.items():
        if key not in values:
            values |= make()


def _makers_of_a_host() -> dict[str, Callable[[], dict[str, str]]]:
    return {
        "host_key_private": partial(_new_key, "host_key"),
        "signing_private": _new_signing,
        "machine_id": lambda: {"machine_id": secrets.token_hex(16)},
    }


def _host(values: Mapping[str, str]) -> HostIdentity:
    return HostIdentity(
        _pair(values, "host_key"),
        _certificate(values, "tls"),
        values["machine_id"],
        _pair(values, "signing"),
        _signers(values),
        _retired(values),
    )


def _new_signing() -> dict[str, str]:
    return _new_key("signing") | {SIGNING_SINCE: _now()}


def _close_signer(values: dict[str, str]) -> None:
    """From now on the key that signs counts for the past alone."""
    if "signing_public" in values:
        ended = {"public": values["signing_public"], "after": values.get(SIGNING_SINCE), "before": _now()}
        values[SIGNERS] = json.dumps([*_closed(values), ended])


def _signers(values: Mapping[str, str]) -> tuple[Signer, ...]:
    """Every key that signed for a host, the one that does now last. Raises UsageError."""
    told = [*_closed(values), {"public": values["signing_public"], "after": values.get(SIGNING_SINCE), "before": None}]
    try:
        return tuple(_signer(each) for each in told)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise _no_signers() from None


def _signer(told: Mapping[str, str | None]) -> Signer:
    kind, key = str(told["public"]).split()[:2]
    before = told["before"]
    return Signer(f"{kind} {key}", _moment(told["after"]), _moment(before) if before else None)


def _closed(values: Mapping[str, str]) -> list[dict[str, str | None]]:
    try:
        found = json.loads(values.get(SIGNERS, "[]"))
    except ValueError:
        raise _no_signers() from None
    if not isinstance(found, list):
        raise _no_signers()
    return found


def _no_signers() -> UsageError:
    return UsageError(
        f"`{SIGNERS}` or `{SIGNING_SINCE}` in a host's file of the vault is not what was written there",
        hint="bring the file back from git or a backup; without it no record of that host's backups can be believed",
    )


def _moment(text: str | None) -> datetime:
    moment = datetime.fromisoformat(text or "")
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _named(hosts: Iterable[Host]) -> list[Named]:
    return [Named(host.name, host.address) for host in hosts if host.provisioned]


def _retire(values: dict[str, str], key: str) -> str:
    """Note that the key of this name is out of use from today; returns its fingerprint."""
    old = fingerprint(values[f"{key}_public"])
    known = dict(_retired(values)) | {old: datetime.now(UTC).date().isoformat()}
    values[RETIRED] = json.dumps(known, sort_keys=True)
    return old


def _retired(values: Mapping[str, str]) -> Mapping[str, str]:
    try:
        known = json.loads(values.get(RETIRED, "{}"))
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise UsageError(
            f"`{RETIRED}` in the vault is not what was written there",
            hint="delete that line with `ansible-vault edit`: it only says whose an old key was",
        )
    return {str(key): str(day) for key, day in known.items()}


def new_key(name: str) -> KeyPair:
    """A key of its own for something that does not last."""
    return _pair(_new_key(name), name)


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
