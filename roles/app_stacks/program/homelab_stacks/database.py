"""A stack's own database on a server of the site: what its entry says of it, in the words that all stacks have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import health
from .values import Wrong, get, object_of

PASSWORD, AUTHORITY = "database_password", "database_ca.crt"
PORT = 5432
# Variables of the stack, and the words of a need that they hold.
_VARIABLES = {"DATABASE_HOST": "host", "DATABASE_PORT": "port", "DATABASE_NAME": "database", "DATABASE_USER": "user"}
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


def furnished(found: object, servers: Mapping[str, Any], authority: str) -> object:
    """The entry of a stack with what its `database` gives it: a need, variables, and two files beside its secrets.

    `servers` are the hosts that have databases, each with its address; `authority` is the certificate (PEM) that proves
    them, by default the host's own. Raises `Wrong`.
    """
    if not isinstance(found, dict) or "database" not in found or found.get("state", "present") == "absent":
        return found
    stack = get(found, "name", str, "app_stacks")
    where = f"stack {stack}, database"
    told = object_of(found["database"], where)
    server = get(told, "host", str, where)
    if server not in servers:
        known = ", ".join(sorted(servers)) or "nobody"
        raise Wrong(f"{where}: {server} is no provisioned host of the group `databases`; there is {known}")
    name, user = (_named(told, key, stack, where) for key in ("name", "user"))
    # An address: there need be no DNS, and the server's certificate is good for it.
    need = {"host": get(servers, server, str, where), "port": PORT, "database": name, "user": user}
    need["authority"] = authority or _own_authority(where)
    variables = {variable: need[word] for variable, word in _VARIABLES.items()}
    secrets = object_of(found.get("secrets", {}), f"stack {stack}, secrets")
    if taken := sorted({PASSWORD, AUTHORITY} & secrets.keys()):
        raise Wrong(f"stack {stack}: the secret {taken[0]} comes with its `database`, and is among its `secrets`, too")
    return {
        **found,
        "environment": {**variables, **object_of(found.get("environment", {}), f"stack {stack}, environment")},
        "secrets": {**secrets, PASSWORD: told.get("password"), AUTHORITY: need["authority"]},
        "databases": [*found.get("databases", []), need],
    }


def _named(told: Mapping[str, Any], key: str, stack: str, where: str) -> str:
    """A name as the other side has it, too (playbooks/group_vars/all.yml)."""
    name = told.get(key, stack.replace("-", "_"))
    if not isinstance(name, str) or not _WORD.fullmatch(name):
        raise Wrong(f"{where}: {name!r} is no {key} of letters, digits, _, - and .")
    return name


def _own_authority(where: str) -> str:
    try:
        return health.AUTHORITY.read_text()
    except OSError as error:
        raise Wrong(
            f"{where}: {health.AUTHORITY}, which proves its server, cannot be read ({error.strerror})"
        ) from None
