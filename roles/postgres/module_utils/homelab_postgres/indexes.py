"""Indexes as data: what is declared is compared with what stands there, and built beside running work.

Whether a definition has changed is asked of PostgreSQL itself: the declared index is made on an empty copy of the
table, within a transaction that is rolled back, and the server's own wording of both is compared. So an index that
somebody made by hand is recognised, and a wrong definition is found before hours are spent.

A changed index is built under a second name first and takes the place of the old one when it is complete; every
step can be the last one before a power cut, and the next run goes on from there.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ansible.module_utils.homelab_postgres.client import (
    UNDEFINED_COLUMN,
    UNDEFINED_SCHEMA,
    UNDEFINED_TABLE,
    Session,
    SqlError,
    identifier,
    literal,
)

INDEX = {
    "database": {"type": "str", "required": True},
    "table": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "using": {"type": "str", "default": "btree"},
    "on": {"type": "str"},
    "unique": {"type": "bool", "default": False},
    "with": {"type": "dict", "default": {}},
    "where": {"type": "str"},
    "memory": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
LONGEST_NAME = 63
NEW = "_new"
SHAPE = "homelab_provision_shape"
PARTITIONED = "p"  # pg_class.relkind
TOO_LARGE = "54000"  # program_limit_exceeded
TOO_MANY = (
    "an index holds a `vector` of at most 2000 dimensions, a `halfvec` of 4000, a `bit` of 64000: say in `on`"
    " ((column::halfvec(3072)) halfvec_cosine_ops), or ((binary_quantize(column)::bit(5000)) bit_hamming_ops)"
)


class Built(NamedTuple):
    """An index that stands there: whether it can be used, and its definition after the name of the table."""

    valid: bool
    definition: str


class Situation(NamedTuple):
    """The index of the declared name, the one that is to take its place, and the definition that both shall have."""

    old: Built | None
    new: Built | None
    desired: str


def place(index: dict[str, Any]) -> tuple[str, str]:
    """The index's schema and table."""
    schema, _, table = index["table"].rpartition(".")
    return schema or "public", table


def creation(index: dict[str, Any], name: str, table: str, concurrently: bool = True) -> str:
    """The statement that makes the index; `table` is quoted already. Raises `ValueError` for a name without room."""
    if len((index["name"] + NEW).encode()) > LONGEST_NAME:
        raise ValueError(f"postgres_indexes: the name {index['name']} is longer than {LONGEST_NAME - len(NEW)} bytes")
    if not index["on"]:
        raise ValueError(f"postgres_indexes: {index['name']} does not say what it is on")
    words = [
        "CREATE",
        "UNIQUE" if index["unique"] else "",
        "INDEX",
        "CONCURRENTLY" if concurrently else "",
        identifier(name),
        "ON",
        table,
        "USING",
        identifier(index["using"]),
        f"({index['on']})",
    ]
    if index["with"]:
        settings = (f"{identifier(key)} = {literal(_text(value))}" for key, value in sorted(index["with"].items()))
        words.append(f"WITH ({', '.join(settings)})")
    if index["where"]:
        words.append(f"WHERE {index['where']}")
    return " ".join(word for word in words if word)


def _text(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def definition(text: str) -> str:
    """An index's definition as the server words it, without the names of index and table."""
    found = re.match(r"CREATE (UNIQUE )?INDEX .*? (USING .*)", text, re.DOTALL)
    return f"{found[1] or ''}{found[2]}" if found else text


PLAIN_PATH = "SET search_path = pg_catalog, pg_temp"


def place_question(index: dict[str, Any]) -> str:
    """The owner of the table, what kind of table it is, and where the words of a definition are looked up: first among
    PostgreSQL's own, then beside the table and in the schemas of extensions."""
    schema, _ = place(index)
    table = ".".join(map(identifier, place(index)))
    return f"""
        SELECT quote_ident(pg_get_userbyid(c.relowner)), c.relkind, concat_ws(', ', 'pg_catalog',
            {literal(identifier(schema))}, 'public', (SELECT string_agg(DISTINCT quote_ident(n.nspname), ', ')
            FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace), 'pg_temp')
        FROM pg_class c WHERE c.oid = {literal(table)}::regclass"""


def search_path(session: Session, index: dict[str, Any]) -> str:
    return str(session.query(place_question(index))[0][2])


def shape_question(index: dict[str, Any], owner: str, path: str) -> str:
    """Begins a transaction, makes the index on an empty copy of the table and tells its definition; to be rolled back.

    The copy is the owner's, as the table is: what the definition calls runs as the owner, as in the real build.
    """
    table = ".".join(map(identifier, place(index)))
    return f"""
        BEGIN; CREATE TEMPORARY TABLE {SHAPE} (LIKE {table}) ON COMMIT DROP; ALTER TABLE {SHAPE} OWNER TO {owner};
        SET LOCAL search_path = {path};
        {creation(index, SHAPE + "_index", "pg_temp." + SHAPE, concurrently=False)};
        SET LOCAL search_path = pg_catalog, pg_temp;
        SELECT pg_get_indexdef('pg_temp.{SHAPE}_index'::regclass)"""


def current_question(index: dict[str, Any]) -> str:
    schema, _ = place(index)
    names = ", ".join(literal(index["name"] + suffix) for suffix in ("", NEW))
    return f"""
        SELECT coalesce(json_object_agg(c.relname, json_build_object(
            'valid', i.indisvalid AND i.indisready, 'text', pg_get_indexdef(i.indexrelid))), '{{}}')
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {literal(schema)} AND c.relname IN ({names})"""


def look(session: Session, index: dict[str, Any]) -> Situation | str:
    """How things stand; a text instead for an index that waits: its table, or a column, does not exist yet."""
    desired = ""
    if index["state"] == "present":
        try:
            owner, kind, path = session.query(place_question(index))[0]
            if kind == PARTITIONED:
                raise ValueError(
                    f"postgres_indexes: {index['name']}: the table {index['table']} is partitioned, and PostgreSQL"
                    " builds no index of all partitions beside running work; declare one for each partition"
                )
            text = session.document(shape_question(index, owner, path))
        except SqlError as error:
            if error.state in (UNDEFINED_TABLE, UNDEFINED_COLUMN, UNDEFINED_SCHEMA):
                return str(error)
            help_ = f"; {TOO_MANY}" if error.state == TOO_LARGE and "dimensions" in str(error) else ""
            raise ValueError(f"postgres_indexes: {index['name']} on {index['table']}: {error}{help_}") from None
        finally:
            session.query("ROLLBACK")
        desired = definition(text)
    current = session.document(current_question(index))
    old, new = (
        Built(found["valid"], definition(found["text"])) if (found := current.get(index["name"] + suffix)) else None
        for suffix in ("", NEW)
    )
    return Situation(old, new, desired)


def steps(index: dict[str, Any], current: Situation) -> list[str]:
    """The statements, each of its own, that bring the index to its state; none if it has it."""
    schema, table = (identifier(name) for name in place(index))
    name, new = index["name"], index["name"] + NEW
    drop = {which: f"DROP INDEX CONCURRENTLY {schema}.{identifier(which)}" for which in (name, new)}
    rename = f"ALTER INDEX {schema}.{identifier(new)} RENAME TO {identifier(name)}"
    good = Built(True, current.desired)
    gone = [drop[which] for which, built in ((name, current.old), (new, current.new)) if built]
    if index["state"] == "absent":
        return gone
    if current.old == good:
        return [drop[new]] if current.new else []
    if current.new == good:  # an earlier run was killed between its last steps
        return [*([drop[name]] if current.old else []), rename]
    on = f"{schema}.{table}"
    if current.old and current.old.valid:  # serves until its successor is complete
        return [*([drop[new]] if current.new else []), creation(index, new, on), drop[name], rename]
    return [*gone, creation(index, name, on)]


def summary(index: dict[str, Any], current: Situation) -> str:
    """What `steps` are for, for people."""
    if index["state"] == "absent":
        return "drop"
    if current.old and current.old.valid and current.old.definition != current.desired:
        return "build anew, its definition has changed"
    if current.old and not current.old.valid:
        return "build anew, an earlier build did not come to its end"
    return "build" if not current.old or current.old.definition != current.desired else "tidy up"
