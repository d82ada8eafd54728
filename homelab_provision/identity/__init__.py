"""Who is who: keys, certificates, machine-ids and passwords, made once and kept in the site's vault."""

from homelab_provision.identity.identities import (
    HostIdentity,
    Identities,
    KeyPair,
    SiteIdentity,
    certificate_of_authority,
    fingerprint,
    load,
    renew_signing,
    retired_on,
    revoke_rescue,
    rotate,
    rotate_authority,
)

__all__ = [
    "HostIdentity",
    "Identities",
    "KeyPair",
    "SiteIdentity",
    "certificate_of_authority",
    "fingerprint",
    "load",
    "renew_signing",
    "retired_on",
    "revoke_rescue",
    "rotate",
    "rotate_authority",
]
