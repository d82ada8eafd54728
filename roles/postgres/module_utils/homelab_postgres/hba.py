"""Who may connect from where: the text of pg_hba.conf."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible.module_utils.homelab_postgres.client import identifier

CLIENT = {
    "address": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "user": {"type": "str", "required": True},
}
# Words with a meaning; every other name is quoted, so that none of `replication`, `+group` and `/pattern` gets one.
DATABASE_WORDS, USER_WORDS = ("all", "sameuser", "samerole"), ("all",)

HEAD = """\
# Written by the role postgres. The first line that fits decides.
# The administrator is whoever is the account postgres on this host, and comes from nowhere else.
local   all       postgres  peer
local   all       all       scram-sha-256
host    all       postgres  all  reject
"""
TAIL = """\
# Everybody else, and whoever comes without TLS.
host    all       all       all  reject
"""


def text(clients: list[dict[str, Any]]) -> str:
    """The whole file. Raises `ValueError` for an address that is none."""
    return HEAD + "".join(f"{line(client)}\n" for client in clients) + TAIL


def line(client: dict[str, Any]) -> str:
    database = _named(client["database"], DATABASE_WORDS)
    return f"hostssl {database}  {_named(client['user'], USER_WORDS)}  {network(client['address'])}  scram-sha-256"


def network(address: str) -> str:
    """An address or network with its prefix length."""
    try:
        return str(ipaddress.ip_network(address))
    except ValueError as error:
        raise ValueError(f"postgres_clients: {error}; an address is written 192.168.50.7 or 192.168.50.0/24") from None


def _named(name: str, words: tuple[str, ...]) -> str:
    if "\n" in name:
        raise ValueError(f"postgres_clients: {name!r} is no name")
    return name if name in words else identifier(name)
