"""Who may do what in a database: a list in a simple form, made into GRANT and REVOKE.

    {role: reader, on: all tables in schema public, privileges: [SELECT]}

`on` is `database`, `schema S`, `table [S.]T`, `all tables in schema S` or `all sequences in schema S`; the last two
hold for what the owner of the database makes later, too. An entry says all that its role may do there: what is not
in `privileges` is taken away. A role, or an object, that no entry mentions is left alone.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ansible.module_utils.homelab_postgres.client import identifier, literal
from ansible.module_utils.homelab_postgres.users import Statement

GRANT = {
    "role": {"type": "str", "required": True},
    "on": {"type": "str", "required": True},
    "privileges": {"type": "list", "elements": "str", "required": True},
}
TABLE = {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"}
POSSIBLE = {
    "database": {"CONNECT", "CREATE", "TEMPORARY"},
    "schema": {"USAGE", "CREATE"},
    "table": TABLE,
    "tables": TABLE,
    "sequences": {"USAGE", "SELECT", "UPDATE"},
}
FORMS = re.compile(
    r"(?P<database>database)|schema (?P<schema>\S+)|table (?P<table>\S+)"
    r"|all tables in schema (?P<tables>\S+)|all sequences in schema (?P<sequences>\S+)"
)
# The letters of acldefault(), pg_default_acl and pg_class for what a kind is about.
TABLES = ("r", "r", "'r', 'p', 'v', 'm', 'f'")
RELATIONS = {"table": TABLES, "tables": TABLES, "sequences": ("s", "S", "'S'")}


class Target(NamedTuple):
    """What a grant is about: its kind (a key of `POSSIBLE`), its schema, its own name."""

    kind: str
    schema: str
    name: str


def target(on: str) -> Target:
    found = FORMS.fullmatch(on.strip())
    if not found:
        forms = "`database`, `schema S`, `table S.T`, `all tables in schema S`, `all sequences in schema S`"
        raise ValueError(f"grants: `on: {on}` is none of {forms}")
    kind, word = next((kind, word) for kind, word in found.groupdict().items() if word)
    if kind == "table":
        schema, _, name = word.rpartition(".")
        return Target(kind, schema or "public", name)
    return Target(kind, word, word)


def privileges(grant: dict[str, Any], kind: str) -> set[str]:
    """What is wanted, checked against what there is; `ALL` is everything."""
    desired = {word.upper() for word in grant["privileges"]}
    if desired == {"ALL"}:
        return POSSIBLE[kind]
    if strange := desired - POSSIBLE[kind]:
        there = ", ".join(sorted(POSSIBLE[kind]))
        raise ValueError(f"grants: no privilege {', '.join(sorted(strange))} on `{grant['on']}`; there are {there}")
    return desired


def question(grants: list[dict[str, Any]]) -> str:
    """One query that tells for every entry which privileges its role has, object by object (null: no such place)."""
    asked = ",\n".join(f"({_asked(grant['role'], target(grant['on']))})" for grant in grants)
    return f"SELECT json_build_array({asked})"


def _asked(role: str, on: Target) -> str:
    """An array of privileges for each object; null instead for what the role owns: there it may do everything."""
    own_oid = f"(SELECT oid FROM pg_roles WHERE rolname = {literal(role)})"
    return f"""SELECT json_agg(CASE WHEN owner IS DISTINCT FROM {own_oid} THEN ARRAY(
            SELECT privilege_type FROM aclexplode(
                CASE WHEN acl IS NULL AND NOT later THEN acldefault(kind::"char", owner) ELSE acl END)
            WHERE grantee = {own_oid}) END ORDER BY later)
        FROM ({_objects(on)}) AS objects (kind, acl, owner, later)"""


def _objects(on: Target) -> str:
    named = f"n.nspname = {literal(on.schema)}"
    if on.kind == "database":
        return "SELECT 'd', datacl, datdba, false FROM pg_database WHERE datname = current_database()"
    if on.kind == "schema":
        return f"SELECT 'n', nspacl, nspowner, false FROM pg_namespace n WHERE {named}"
    kind, default_kind, relations = RELATIONS[on.kind]
    which = f" AND c.relname = {literal(on.name)}" if on.kind == "table" else ""
    existing = f"""SELECT '{kind}', c.relacl, c.relowner, false
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE {named} AND c.relkind IN ({relations}){which}"""
    if on.kind == "table":
        return existing
    # What comes later is one more object: the defaults of the owner of the database, which may be empty.
    return f"""{existing} UNION ALL SELECT '{kind}', (SELECT defaclacl FROM pg_default_acl
                WHERE defaclrole = d.datdba AND defaclnamespace = n.oid AND defaclobjtype = '{default_kind}'),
                d.datdba, true FROM pg_database d, pg_namespace n WHERE d.datname = current_database() AND {named}"""


def statements(database: str, owner: str, grants: list[dict[str, Any]], answer: list[Any]) -> list[Statement]:
    """What gives everybody what is theirs; `answer` is what `question` got."""
    todo: list[Statement] = []
    for grant, objects in zip(grants, answer, strict=True):
        on = target(grant["on"])
        desired = privileges(grant, on.kind)
        both = on.kind in ("tables", "sequences")
        existing, later = (objects[:-1], objects[-1:]) if both and objects else (objects or [], [])
        what = f"{database}: {grant['role']} on {grant['on']}"
        todo += _evened(_place(database, on), grant["role"], desired, existing, what)
        prefix = f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(owner)} IN SCHEMA {identifier(on.schema)} "
        todo += _evened(on.kind.upper(), grant["role"], desired, later, f"{what} made later", prefix)
    return todo


def waiting(database: str, grants: list[dict[str, Any]], answer: list[Any]) -> list[str]:
    """Grants on what is not there yet: the application has to make it first."""
    return [
        f"{database}: {grant['role']} on {grant['on']}: it does not exist yet"
        for grant, objects in zip(grants, answer, strict=True)
        if objects is None
    ]


def _place(database: str, on: Target) -> str:
    if on.kind == "database":
        return f"DATABASE {identifier(database)}"
    if on.kind == "schema":
        return f"SCHEMA {identifier(on.schema)}"
    if on.kind == "table":
        return f"TABLE {identifier(on.schema)}.{identifier(on.name)}"
    return f"ALL {on.kind.upper()} IN SCHEMA {identifier(on.schema)}"


def _evened(
    place: str, role: str, desired: set[str], objects: list[list[str] | None], what: str, prefix: str = ""
) -> list[Statement]:
    lacking = {word for has in objects if has is not None for word in desired - set(has)}
    extra = {word for has in objects if has is not None for word in set(has) - desired}
    todo = []
    if lacking:
        words = ", ".join(sorted(lacking))
        todo.append(Statement(f"{prefix}GRANT {words} ON {place} TO {identifier(role)}", f"{what}: grant {words}"))
    if extra:
        words = ", ".join(sorted(extra))
        todo.append(Statement(f"{prefix}REVOKE {words} ON {place} FROM {identifier(role)}", f"{what}: revoke {words}"))
    return todo
