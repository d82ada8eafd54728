"""A STAND-IN for pihole-FTL: the keys of its configuration, those that matter here, with the types and flags of 6.4."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

HIDDEN = "********"
ARRAY, BOOL, ENUM, IPV4, PASSWORD, STRING, UINT, UINT16 = (
    "string array",
    "boolean",
    "enum (string)",
    "IPv4 address",
    "password (write-only string)",
    "string",
    "unsigned integer",
    "unsigned integer (16 bit)",
)


@dataclass(frozen=True)
class Key:
    """One key. `restart`: the resolver starts anew when it changes. `resets`: so do all sessions."""

    kind: str
    default: Any
    restart: bool = False
    resets: bool = False
    allowed: tuple[str, ...] = ()

    @property
    def hidden(self) -> bool:
        return self.kind == PASSWORD

    def refusal(self, value: Any) -> str | None:
        """Why FTL does not take a value; nothing if it does."""
        if self.kind == BOOL:
            return None if isinstance(value, bool) else "not of type bool"
        if self.kind in (UINT, UINT16):
            most = 0xFFFF if self.kind == UINT16 else 0xFFFFFFFF
            fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
            return None if fits else "not of type unsigned integer"
        if self.kind == ARRAY:
            if not isinstance(value, list):
                return "not of type array"
            return None if all(isinstance(each, str) for each in value) else "array has invalid elements"
        if not isinstance(value, str):
            return "not of type string"
        if self.kind == ENUM and value.upper() not in self.allowed:
            return "invalid option"
        if self.kind == IPV4 and value:
            try:
                ipaddress.IPv4Address(value)
            except ValueError:
                return "not a valid IPv4 address"
        return None

    def from_text(self, text: str) -> Any:
        """The value that an environment variable has."""
        if self.kind == BOOL:
            return text.lower() in ("true", "yes")
        if self.kind in (UINT, UINT16):
            return int(text)
        if self.kind == ARRAY:
            return [part.strip() for part in text.replace("\n", ";").split(";") if part.strip()]
        return text


KEYS = {
    "dns.upstreams": Key(ARRAY, [], restart=True),
    "dns.blockTTL": Key(UINT, 2),
    "dns.hosts": Key(ARRAY, []),
    "dns.domainNeeded": Key(BOOL, False, restart=True),
    "dns.expandHosts": Key(BOOL, False, restart=True),
    "dns.bogusPriv": Key(BOOL, True, restart=True),
    "dns.dnssec": Key(BOOL, False, restart=True),
    "dns.interface": Key(STRING, "", restart=True),
    "dns.listeningMode": Key(ENUM, "LOCAL", restart=True, allowed=("LOCAL", "SINGLE", "BIND", "ALL", "NONE")),
    "dns.queryLogging": Key(BOOL, True, restart=True),
    "dns.cnameRecords": Key(ARRAY, [], restart=True),
    "dns.port": Key(UINT16, 53, restart=True),
    "dns.revServers": Key(ARRAY, [], restart=True),
    "dns.domain.name": Key(STRING, "lan", restart=True),
    "dns.domain.local": Key(BOOL, True, restart=True),
    "dns.cache.size": Key(UINT, 10000, restart=True),
    "dns.blocking.active": Key(BOOL, True),
    "dns.rateLimit.count": Key(UINT, 1000),
    "dns.rateLimit.interval": Key(UINT, 60),
    "dhcp.active": Key(BOOL, False, restart=True),
    "dhcp.start": Key(IPV4, "", restart=True),
    "dhcp.end": Key(IPV4, "", restart=True),
    "dhcp.router": Key(IPV4, "", restart=True),
    "dhcp.netmask": Key(IPV4, "", restart=True),
    "dhcp.leaseTime": Key(STRING, "", restart=True),
    "dhcp.hosts": Key(ARRAY, [], restart=True),
    "ntp.ipv4.active": Key(BOOL, True, restart=True),
    "ntp.ipv6.active": Key(BOOL, True, restart=True),
    "ntp.sync.active": Key(BOOL, True, restart=True),
    "webserver.port": Key(STRING, "80o,443os,[::]:80o,[::]:443os", restart=True),
    "webserver.tls.cert": Key(STRING, "/etc/pihole/tls.pem", restart=True),
    "webserver.session.timeout": Key(UINT, 1800),
    "webserver.session.restore": Key(BOOL, True),
    "webserver.api.max_sessions": Key(UINT16, 16, restart=True),
    "webserver.api.pwhash": Key(STRING, "", resets=True),
    "webserver.api.password": Key(PASSWORD, "", resets=True),
    "webserver.api.app_pwhash": Key(STRING, "", resets=True),
    "webserver.api.app_sudo": Key(BOOL, False),
    "misc.privacylevel": Key(UINT, 0),
    "misc.etc_dnsmasq_d": Key(BOOL, False, restart=True),
    "misc.dnsmasq_lines": Key(ARRAY, [], restart=True),
}


def before_6_3() -> dict[str, Key]:
    """As they were before 6.3, when `dns.domain` was no table."""
    kept = {name: key for name, key in KEYS.items() if not name.startswith("dns.domain.")}
    return kept | {"dns.domain": Key(STRING, "lan", restart=True)}
