"""Who may log in: roles of PostgreSQL, their passwords, rights and memberships.

Pure: what is declared and what the server has, in; statements, out. Somebody who is no longer listed is left alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ansible.module_utils.homelab_postgres.client import identifier, literal
from ansible.module_utils.homelab_postgres.scram import fits, verifier

ATTRIBUTES = ("superuser", "createdb", "createrole", "replication", "bypassrls")
USER = {
    "name": {"type": "str", "required": True},
    "password": {"type": "str", "no_log": True},
    "login": {"type": "bool", "default": True},
    "attributes": {"type": "list", "elements": "str", "choices": list(ATTRIBUTES), "default": []},
    "member_of": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
OWN = "postgres"

# Only memberships that the role gave: PostgreSQL itself gives some to whoever makes users (createrole).
CURRENT = """
SELECT coalesce(json_object_agg(rolname, json_build_object(
    'password', rolpassword, 'login', rolcanlogin,
    'attributes', json_build_object('superuser', rolsuper, 'createdb', rolcreatedb, 'createrole', rolcreaterole,
                                    'replication', rolreplication, 'bypassrls', rolbypassrls),
    'member_of', (SELECT coalesce(json_agg(g.rolname ORDER BY g.rolname), '[]') FROM pg_auth_members m
                  JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = a.oid AND m.grantor = 10))), '{}')
FROM pg_authid a WHERE rolname !~ '^pg_'
"""


class Statement(NamedTuple):
    """What is sent to the server, and how it is told to people; only the first can hold a secret."""

    sql: str
    summary: str


def statements(users: list[dict[str, Any]], current: dict[str, Any]) -> list[Statement]:
    """What brings the users to their state; all are made before one becomes a member of another."""
    if any(user["name"] == OWN or user["name"].startswith("pg_") for user in users):
        raise ValueError(f"postgres_users: {OWN} and the names that begin with pg_ are PostgreSQL's own")
    todo: list[Statement] = []
    for user in users:
        todo += _settled(user, current.get(user["name"]))
    for user in users:
        if user["state"] == "present":
            todo += _memberships(user, set((current.get(user["name"]) or {"member_of": []})["member_of"]))
    return todo


def unlisted(users: list[dict[str, Any]], current: dict[str, Any]) -> list[str]:
    return sorted(current.keys() - {user["name"] for user in users} - {OWN})


def _settled(user: dict[str, Any], current: dict[str, Any] | None) -> list[Statement]:
    name, quoted = user["name"], identifier(user["name"])
    if user["state"] == "absent":
        return [Statement(f"DROP ROLE {quoted}", f"drop user {name}")] if current else []
    desired = {"login": user["login"], **{word: word in user["attributes"] for word in ATTRIBUTES}}
    has = {"login": current["login"], **current["attributes"]} if current else {}
    words = [
        word.upper() if value else f"NO{word.upper()}" for word, value in desired.items() if has.get(word) != value
    ]
    todo = []
    if current is None:
        todo.append(Statement(f"CREATE ROLE {quoted} {' '.join(words)}", f"create user {name}"))
    elif words:
        todo.append(Statement(f"ALTER ROLE {quoted} {' '.join(words)}", f"make user {name} {' '.join(words).lower()}"))
    stored = current["password"] if current else None
    if user["password"] is None and stored is not None:
        todo.append(Statement(f"ALTER ROLE {quoted} PASSWORD NULL", f"take the password of user {name} away"))
    if user["password"] is not None and not fits(user["password"], stored):
        made = literal(verifier(user["password"]))
        todo.append(Statement(f"ALTER ROLE {quoted} PASSWORD {made}", f"set the password of user {name}"))
    return todo


def _memberships(user: dict[str, Any], has: set[str]) -> list[Statement]:
    name, desired = user["name"], set(user["member_of"])
    member = identifier(name)
    return [
        Statement(f"GRANT {identifier(group)} TO {member}", f"make user {name} a member of {group}")
        for group in sorted(desired - has)
    ] + [
        Statement(f"REVOKE {identifier(group)} FROM {member}", f"end the membership of user {name} in {group}")
        for group in sorted(has - desired)
    ]
