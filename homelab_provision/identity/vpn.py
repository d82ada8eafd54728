"""The keys of the VPN: made once for its server and every client, kept in the vault beside the passwords.

They are made here and not on the hosts, so that a host that is rebuilt has them again and no client notices. What was
lost or stolen gets new ones (`rekey`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from homelab_provision.errors import UsageError
from homelab_provision.site.vault.store import Vault
from homelab_provision.site.vault.values import SECRETS
from homelab_provision.site.vpn import SERVER, Vpn
from homelab_provision.site.wireguard import PRIVATE, PUBLIC, SHARED, new_private, new_shared, public_of


@dataclass(frozen=True)
class ClientKeys:
    """What a client needs; no private key if its device made that itself."""

    public: str
    shared: str = field(repr=False)
    private: str | None = field(repr=False)


@dataclass(frozen=True)
class VpnKeys:
    """The public key of the server, and the keys of every client that may have some (those revoked have none)."""

    server: str
    clients: Mapping[str, ClientKeys]


def complete(values: dict[str, str], vpn: Vpn) -> None:
    """Add what is missing to the values of vault/secrets.yml. Raises UsageError where half a pair is lost."""
    _complete_pair(values, SERVER)
    for name, client in vpn.clients.items():
        if client.revoked:
            if PRIVATE + name in values:
                _complete_pair(values, name)
            continue
        if client.public_key:
            values.pop(PRIVATE + name, None)  # from the time before the device had a key of its own
            values[PUBLIC + name] = client.public_key
        else:
            _complete_pair(values, name)
        if SHARED + name not in values:
            values[SHARED + name] = new_shared()
    _refuse_twins(values, vpn)


def keys_of(values: Mapping[str, str], vpn: Vpn) -> VpnKeys:
    """The keys among values that are complete."""
    clients = {
        name: ClientKeys(values[PUBLIC + name], values[SHARED + name], values.get(PRIVATE + name))
        for name, client in vpn.clients.items()
        if not client.revoked
    }
    return VpnKeys(values[PUBLIC + SERVER], clients)


def rekey(vault: Vault, name: str) -> None:
    """Give a client, or the `server`, new keys, in the vault alone: hosts get them when they are converged."""
    with vault.locked():
        values = vault.read([SECRETS]).get(SECRETS, {})
        values |= _new_pair(name)
        if name != SERVER:
            values[SHARED + name] = new_shared()
        vault.write(SECRETS, values)


def _complete_pair(values: dict[str, str], name: str) -> None:
    if PRIVATE + name in values:
        values.setdefault(PUBLIC + name, public_of(values[PRIVATE + name]))
    elif PUBLIC + name not in values:
        values |= _new_pair(name)
    else:
        raise UsageError(
            f"vault/secrets.yml has `{PUBLIC}{name}`, but `{PRIVATE}{name}`, which belongs to it, is missing",
            hint=f"bring the file back from a backup or from git, or make new keys: `provision vpn rekey {name}`",
        )


def _new_pair(name: str) -> dict[str, str]:
    private = new_private()
    return {PRIVATE + name: private, PUBLIC + name: public_of(private)}


def _refuse_twins(values: Mapping[str, str], vpn: Vpn) -> None:
    """WireGuard tells peers by their keys. Two with one key: somebody has pasted the wrong one."""
    seen: dict[str, str] = {}
    for name in (SERVER, *vpn.clients):
        if (key := values.get(PUBLIC + name)) and (other := seen.setdefault(key, name)) != name:
            raise UsageError(
                f"the VPN's `{name}` and `{other}` have one and the same public key",
                hint="`public_key` in `provision_vpn` is what the device itself shows as its own",
            )
