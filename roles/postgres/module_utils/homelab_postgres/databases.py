"""Databases and their extensions.

Pure, as in postgres_users. A database that is no longer listed is left alone; one that is `absent` is dropped only
if the declaration also says that its data is to go.
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.homelab_postgres.client import identifier, literal
from ansible.module_utils.homelab_postgres.grants import GRANT
from ansible.module_utils.homelab_postgres.users import Statement

DATABASE = {
    "name": {"type": "str", "required": True},
    "owner": {"type": "str", "default": "postgres"},
    "encoding": {"type": "str", "default": "UTF8"},
    "extensions": {"type": "list", "elements": "str", "default": []},
    "grants": {"type": "list", "elements": "dict", "options": GRANT, "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "drop_data": {"type": "bool", "default": False},
}
OWN = ("postgres", "template0", "template1")

# Nobody but the owner gets into a database by default; PostgreSQL's own default lets everybody connect.
CURRENT = """
SELECT coalesce(json_object_agg(datname, json_build_object(
    'owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding),
    'open', EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0))), '{}')
FROM pg_database
"""

EXTENSIONS = """
SELECT coalesce(json_object_agg(a.name, json_build_object('has', e.extversion, 'comes', a.default_version)), '{}')
FROM pg_available_extensions a LEFT JOIN pg_extension e ON e.extname = a.name
"""


def statements(databases: list[dict[str, Any]], current: dict[str, Any]) -> list[Statement]:
    """What brings the databases to their state; none of these can run in a transaction with another."""
    return [statement for database in databases for statement in _settled(database, current.get(database["name"]))]


def unlisted(databases: list[dict[str, Any]], current: dict[str, Any]) -> list[str]:
    return sorted(current.keys() - {database["name"] for database in databases} - set(OWN))


def _settled(database: dict[str, Any], current: dict[str, Any] | None) -> list[Statement]:
    name, quoted, owner = database["name"], identifier(database["name"]), identifier(database["owner"])
    if name in OWN:
        raise ValueError(f"postgres_databases: {name} is PostgreSQL's own")
    if database["state"] == "absent":
        if current and not database["drop_data"]:
            raise ValueError(f"postgres_databases: {name} is to be absent and holds data; `drop_data: true` drops it")
        return [Statement(f"DROP DATABASE {quoted} WITH (FORCE)", f"drop database {name}")] if current else []
    if current and current["encoding"] != database["encoding"]:
        raise ValueError(
            f"postgres_databases: {name} has the encoding {current['encoding']}, which cannot be changed to "
            f"{database['encoding']}: dump it, drop it, and let it be made again"
        )
    todo = []
    if current is None:
        made = f"CREATE DATABASE {quoted} OWNER {owner} ENCODING {literal(database['encoding'])} TEMPLATE template0"
        todo.append(Statement(made, f"create database {name}"))
    elif current["owner"] != database["owner"]:
        todo.append(
            Statement(f"ALTER DATABASE {quoted} OWNER TO {owner}", f"give database {name} to {database['owner']}")
        )
    if current is None or current["open"]:
        todo.append(Statement(f"REVOKE ALL ON DATABASE {quoted} FROM PUBLIC", f"close database {name} to the others"))
    return todo


def extension_statements(database: str, desired: list[str], current: dict[str, Any]) -> list[Statement]:
    """Make and update extensions. Raises `ValueError` for one that is not installed on the host."""
    todo = []
    for name in desired:
        if name not in current:
            raise ValueError(f"database {database}: no package on this host brings the extension {name}")
        has, comes = current[name]["has"], current[name]["comes"]
        quoted = identifier(name)
        if has is None:
            # Into the schema that PostgreSQL has in mind; our own sessions look into none but its own.
            made = f"SET LOCAL search_path = public; CREATE EXTENSION {quoted} CASCADE"
            todo.append(Statement(made, f"{database}: create extension {name} {comes}"))
        elif has != comes:
            todo.append(
                Statement(
                    f"ALTER EXTENSION {quoted} UPDATE", f"{database}: update extension {name} from {has} to {comes}"
                )
            )
    return todo
