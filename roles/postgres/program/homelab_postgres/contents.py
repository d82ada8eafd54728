"""What a dump holds, entry by entry, and in which order and as whom it is loaded.

The list of `pg_restore` is text in which names stand as their owners chose them. Whatever cannot be told apart for sure
is loaded with fewer rights, never with more: that ends in an error at worst.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby

from homelab_host.errors import Trouble

SECTIONS = ("pre-data", "data", "post-data")
# An entry: its number, the catalog and the number of its object there, and then words.
ENTRY = re.compile(r"\d+; (?P<catalog>\d+) (?P<object>\d+) (?P<words>.*)")
DEFAULT_ACL, TABLE = "826", "1259"
# Whoever owns the database is a member of it, and nobody else can be.
DATABASE_OWNER = "pg_database_owner"


class Stage(IntEnum):
    """In this order. What is made by a superuser in the first, fourth, sixth and last runs no code of anybody's."""

    FRAME = 1
    OBJECTS = 2
    DATA = 3
    RIGHTS = 4
    CHECKS = 5
    LAST_RIGHTS = 6
    VIEWS = 7
    EVENTS = 8


SUPERUSERS = (Stage.FRAME, Stage.RIGHTS, Stage.LAST_RIGHTS, Stage.EVENTS)
FIRST_WORDS = (
    (re.compile(r"((ACL|COMMENT|SECURITY LABEL) - )?DATABASE "), Stage.FRAME),
    (re.compile(r"SCHEMA |(COMMENT - )?EXTENSION "), Stage.FRAME),
    # Only when nobody makes anything any more: until then the owners may make things in every schema.
    (re.compile(r"ACL - SCHEMA "), Stage.LAST_RIGHTS),
    # Without these, what comes next among the objects cannot be made by its owner.
    (re.compile(r"ACL - (FOREIGN|LANGUAGE) "), Stage.OBJECTS),
    (re.compile(r"ACL "), Stage.RIGHTS),
    (re.compile(r"(COMMENT - )?EVENT TRIGGER "), Stage.EVENTS),
)
OF_SECTION = {"pre-data": Stage.OBJECTS, "data": Stage.DATA, "post-data": Stage.CHECKS}


@dataclass(frozen=True)
class Batch:
    """Lines of the list that one role loads at one go; `owner` is None for a superuser."""

    stage: Stage
    owner: str | None
    lines: tuple[str, ...]


def batches(listing: Mapping[str, str], owner: str, roles: Mapping[str, bool | None]) -> list[Batch]:
    """What to load, in order; `listing` is the list of each section, `owner` is the database's.

    `roles` are those of the cluster that was dumped: whether the cluster that is loaded has a superuser of that name,
    None if it has no such role. Raises `Trouble` for an owner that it does not have.
    """
    entries = [
        (section, line)
        for section in SECTIONS
        for line in listing[section].splitlines()
        if line and not line.startswith(";")
    ]
    made = {found for _, line in entries if (found := _made(line))}
    placed = [(_stage(section, line), _loader(section, line, owner, roles, made), line) for section, line in entries]
    # Rows depend on no other rows; the fewer who take turns, the more is loaded at once.
    placed.sort(key=lambda each: (each[0], (each[1] or "") if each[0] is Stage.DATA else ""))
    runs = groupby(placed, key=lambda each: each[:2])
    return [Batch(stage, who, tuple(line for *_, line in run)) for (stage, who), run in runs]


def _parts(line: str) -> re.Match[str]:
    found = ENTRY.fullmatch(line)
    if found is None:
        raise Trouble(f"pg_restore lists something that is no entry: {line!r}")
    return found


def _stage(section: str, line: str) -> Stage:
    found = _parts(line)
    if found["catalog"] == DEFAULT_ACL:
        return Stage.LAST_RIGHTS
    if found["catalog"] == "0" and found["words"].startswith("MATERIALIZED VIEW DATA "):
        return Stage.VIEWS
    return next((stage for words, stage in FIRST_WORDS if words.match(found["words"])), OF_SECTION[section])


def _made(line: str) -> str | None:
    """What tells the rows of a table, or the number of a sequence, that the dump itself makes."""
    found = _parts(line)
    if found["catalog"] != TABLE:
        return None
    return found["words"] if found["words"].startswith("SEQUENCE ") else found["object"]


def _loader(section: str, line: str, owner: str, roles: Mapping[str, bool | None], made: set[str]) -> str | None:
    """As whom an entry is loaded; None for a superuser."""
    found = _parts(line)
    words = found["words"]
    stage = _stage(section, line)
    if stage in SUPERUSERS or words.startswith("ACL "):
        return None
    # Rows of a table that an extension has just made, as nobody has touched it: it is a superuser's.
    if words.startswith("TABLE DATA ") and found["object"] not in made:
        return None
    if words.startswith("SEQUENCE SET ") and words.replace(" SET", "", 1) not in made:
        return None
    return owner_of(line, owner, roles)


def owner_of(line: str, owner: str, roles: Mapping[str, bool | None]) -> str | None:
    """Whose an entry is: the role whose name ends the line, None for a superuser.

    Names may hold blanks, so several may fit; one without power over the others is taken then.
    """
    fitting = sorted((name for name in roles if line.endswith(f" {_on_one_line(name)}")), key=len)
    if not fitting and line.endswith(" "):
        return None  # Nobody's: an extension, a cast, the contents of large objects.
    if not fitting:
        raise Trouble(f"whose this is cannot be told: {line!r}")
    powerless = [name for name in fitting if roles[name] is not True]
    if not powerless:
        return None
    chosen = owner if powerless[-1] == DATABASE_OWNER else powerless[-1]
    if roles.get(chosen) is None:
        raise Trouble(
            f"something in the database belongs to {chosen}, and the cluster has no such role",
            f"declare it in `postgres_users` and apply that, or: CREATE ROLE {chosen}",
        )
    return None if roles[chosen] else chosen


def _on_one_line(name: str) -> str:
    """As pg_restore writes names into its list."""
    return name.replace("\n", " ").replace("\r", " ")
