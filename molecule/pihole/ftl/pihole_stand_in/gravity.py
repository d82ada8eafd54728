"""A STAND-IN for pihole-FTL: lists, domains, groups and clients in gravity.db, with the tables of schema 20."""

from __future__ import annotations

import json
import re
import sqlite3
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Refused

LISTS, DOMAINS = ("block", "allow"), (("allow", "exact"), ("deny", "exact"), ("allow", "regex"), ("deny", "regex"))
STAMPS = "date_added INTEGER DEFAULT (strftime('%s','now')), date_modified INTEGER DEFAULT (strftime('%s','now'))"
SCHEMA = f"""
CREATE TABLE "group" (id INTEGER PRIMARY KEY, enabled BOOLEAN DEFAULT 1, name TEXT UNIQUE, {STAMPS}, description TEXT);
INSERT INTO "group" (id, name, description) VALUES (0, 'Default', 'The default group');
CREATE TABLE adlist (id INTEGER PRIMARY KEY, address TEXT, enabled BOOLEAN DEFAULT 1, {STAMPS}, comment TEXT,
  date_updated INTEGER DEFAULT 0, number INTEGER DEFAULT 0, invalid_domains INTEGER DEFAULT 0, status INTEGER DEFAULT 0,
  abp_entries INTEGER DEFAULT 0, type INTEGER DEFAULT 0, UNIQUE(address, type));
CREATE TABLE domainlist (id INTEGER PRIMARY KEY, type INTEGER, domain TEXT, enabled BOOLEAN DEFAULT 1, {STAMPS},
  comment TEXT, UNIQUE(domain, type));
CREATE TABLE client (id INTEGER PRIMARY KEY, ip TEXT UNIQUE, {STAMPS}, comment TEXT);
CREATE TABLE adlist_by_group (adlist_id INTEGER, group_id INTEGER, PRIMARY KEY (adlist_id, group_id));
CREATE TABLE domainlist_by_group (domainlist_id INTEGER, group_id INTEGER, PRIMARY KEY (domainlist_id, group_id));
CREATE TABLE client_by_group (client_id INTEGER, group_id INTEGER, PRIMARY KEY (client_id, group_id));
CREATE TABLE gravity (domain TEXT, adlist_id INTEGER);
CREATE TABLE antigravity (domain TEXT, adlist_id INTEGER);
CREATE TABLE info (property TEXT PRIMARY KEY, value TEXT);
INSERT INTO info VALUES ('version', '20');
"""
# What a teleporter holds.
TABLES = ("group", "adlist", "adlist_by_group", "domainlist", "domainlist_by_group", "client", "client_by_group")
_NAME = re.compile(r"(?:[0-9a-f.:]+\s+)?([\w-]+(?:\.[\w-]+)+)\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Kind:
    """One of the four kinds of entries: its table, and the column that tells one from another."""

    table: str
    column: str
    word: str
    comment: str = "comment"
    has_enabled: bool = True


KINDS = {
    "groups": Kind("group", "name", "name", comment="description"),
    "lists": Kind("adlist", "address", "address"),
    "clients": Kind("client", "ip", "client", has_enabled=False),
    "domains": Kind("domainlist", "domain", "domain"),
}


class Gravity:
    def __init__(self, file: Path) -> None:
        new = not file.exists()
        self.base = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self.base.row_factory = sqlite3.Row
        if new:
            self.base.executescript(SCHEMA)

    def read(self, name: str, types: Sequence[int] = (), item: str = "") -> list[dict[str, Any]]:
        kind = KINDS[name]
        rows = [dict(row) for row in self.base.execute(f'SELECT * FROM "{kind.table}" ORDER BY id')]
        rows = [row for row in rows if not types or row["type"] in types]
        return [self._shown(name, kind, row) for row in rows if item in ("", row[kind.column])]

    def _shown(self, name: str, kind: Kind, row: dict[str, Any]) -> dict[str, Any]:
        shown = {kind.word: row[kind.column], "comment": row[kind.comment], "id": row["id"]}
        shown |= {stamp: row[stamp] for stamp in ("date_added", "date_modified")}
        if name != "groups":
            shown["groups"] = self._groups(kind, row["id"])
        if kind.has_enabled:
            shown["enabled"] = bool(row["enabled"])
        if name == "lists":
            shown["type"] = LISTS[row["type"]]
            shown |= {
                word: row[word] for word in ("date_updated", "number", "invalid_domains", "abp_entries", "status")
            }
        if name == "domains":
            shown["type"], shown["kind"] = DOMAINS[row["type"]]
            shown["unicode"] = row["domain"]
        return shown

    def _groups(self, kind: Kind, row: int) -> list[int]:
        asked = f"SELECT group_id FROM {kind.table}_by_group WHERE {kind.table}_id = ? ORDER BY group_id"
        return [each[0] for each in self.base.execute(asked, (row,))]

    def write(self, name: str, items: Sequence[str], given: dict[str, Any], type_: int | None, new: bool) -> Any:
        """Add entries, or change one that may be there; what was done, as the API tells it."""
        kind, errors, success = KINDS[name], [], []
        for item in items:
            if name != "groups" and type_ not in (2, 3) and re.search(r"\s", item):
                message = "Spaces, newlines and tabs are not allowed in domains and URLs"
                raise Refused(400, "bad_request", message, item)
            if name == "domains" and type_ in (2, 3):
                try:
                    re.compile(item)
                except re.error as error:
                    raise Refused(400, "regex_error", "Regex validation failed", str(error)) from None
            try:
                self._put(kind, item.lower() if name == "domains" and type_ in (0, 1) else item, given, type_, new)
                success.append({"item": item})
            except sqlite3.IntegrityError as error:
                errors.append({"item": item, "error": str(error)})
        return {"errors": errors, "success": success}

    def _put(self, kind: Kind, item: str, given: dict[str, Any], type_: int | None, new: bool) -> None:
        values: dict[str, Any] = {kind.column: item, kind.comment: given.get("comment") or None}
        if kind.has_enabled:
            values["enabled"] = bool(given.get("enabled", True))
        if type_ is not None:
            values["type"] = type_
        known = self._id(kind, item, type_)
        if known is None or new:
            marks = ", ".join("?" * len(values))
            words = f'INSERT INTO "{kind.table}" ({", ".join(values)}) VALUES ({marks})'
            known = self.base.execute(words, tuple(values.values())).lastrowid
            if kind.table != "group":
                self._link(kind, known, [0])
        else:
            sets = ", ".join(f"{column} = ?" for column in values)
            self.base.execute(f'UPDATE "{kind.table}" SET {sets} WHERE id = ?', (*values.values(), known))
        if kind.table != "group" and given.get("groups") is not None:
            self.base.execute(f"DELETE FROM {kind.table}_by_group WHERE {kind.table}_id = ?", (known,))
            self._link(kind, known, given["groups"])

    def _id(self, kind: Kind, item: str, type_: int | None) -> int | None:
        words = f'SELECT id FROM "{kind.table}" WHERE {kind.column} = ?' + ("" if type_ is None else " AND type = ?")
        row = self.base.execute(words, (item,) if type_ is None else (item, type_)).fetchone()
        return int(row[0]) if row else None

    def _link(self, kind: Kind, row: int | None, groups: Sequence[int]) -> None:
        words = f"INSERT INTO {kind.table}_by_group ({kind.table}_id, group_id) VALUES (?, ?)"
        self.base.executemany(words, [(row, group) for group in groups])

    def delete(self, name: str, entries: Sequence[tuple[str, int | None]]) -> int:
        kind, gone = KINDS[name], 0
        for item, type_ in entries:
            row = self._id(kind, item, type_)
            if row is None or (name == "groups" and row == 0):
                continue
            for table in ("gravity", "antigravity") if name == "lists" else ():
                self.base.execute(f"DELETE FROM {table} WHERE adlist_id = ?", (row,))
            for table in ("adlist", "domainlist", "client") if name == "groups" else (kind.table,):
                column = "group" if name == "groups" else kind.table
                self.base.execute(f"DELETE FROM {table}_by_group WHERE {column}_id = ?", (row,))
            gone += self.base.execute(f'DELETE FROM "{kind.table}" WHERE id = ?', (row,)).rowcount
        return gone

    def update(self) -> str:
        """Fetch the lists, as `pihole -g`; what it says. A list that cannot be had keeps what it had."""
        said = ["  [i] Upgrading gravity of a stand-in"]
        for row in self.base.execute("SELECT * FROM adlist WHERE enabled ORDER BY id").fetchall():
            table = "antigravity" if row["type"] else "gravity"
            try:
                with urllib.request.urlopen(row["address"], timeout=10) as answer:
                    lines = answer.read().decode(errors="replace").splitlines()
            except (OSError, ValueError) as error:
                said.append(f"  [✗] {row['address']}: {error}")
                self.base.execute("UPDATE adlist SET status = ? WHERE id = ?", (3 if row["number"] else 4, row["id"]))
                continue
            found = [_NAME.fullmatch(line.partition("#")[0].strip()) for line in lines]
            names = sorted({match[1].lower() for match in found if match})
            self.base.execute(f"DELETE FROM {table} WHERE adlist_id = ?", (row["id"],))
            self.base.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(name, row["id"]) for name in names])
            values = (len(names), int(time.time()), row["id"])
            self.base.execute("UPDATE adlist SET number = ?, date_updated = ?, status = 1 WHERE id = ?", values)
            said.append(f"  [✓] {row['address']}: {len(names)} domains")
        return "\n".join([*said, "  [✓] Done."]) + "\n"

    def blocked(self) -> tuple[list[str], list[str]]:
        """Names that are blocked: those meant exactly, and those with all below them."""
        kept = "SELECT domain FROM domainlist x WHERE type = {}"
        listed = "SELECT y.domain FROM {} y JOIN adlist x ON x.id = y.adlist_id WHERE 1"
        exact = self._enabled("domainlist", kept.format(1)) | self._enabled("adlist", listed.format("gravity"))
        allowed = self._enabled("domainlist", kept.format(0)) | self._enabled("adlist", listed.format("antigravity"))
        # dnsmasq knows no regular expressions; those that mean a name and all below it are most of what people write.
        patterns = self._enabled("domainlist", kept.format(3))
        below = [re.fullmatch(r"\(\\\.\|\^\)([\w-]+(?:\\\.[\w-]+)*)\$", pattern) for pattern in patterns]
        return sorted(exact - allowed), sorted(match[1].replace("\\", "") for match in below if match)

    def _enabled(self, table: str, words: str) -> set[str]:
        """The names of entries that are switched on, and of a group that is."""
        linked = (
            f' AND x.enabled AND EXISTS (SELECT 1 FROM {table}_by_group l JOIN "group" g ON g.id = l.group_id'
            f" WHERE l.{table}_id = x.id AND g.enabled)"
        )
        return {row[0] for row in self.base.execute(words + linked)}

    def exported(self) -> bytes:
        """A database with the tables of a teleporter."""
        other = sqlite3.connect(":memory:")
        for table in TABLES:
            rows = [tuple(row) for row in self.base.execute(f'SELECT * FROM "{table}"')]
            columns = [row[1] for row in self.base.execute(f'PRAGMA table_info("{table}")')]
            other.execute(f'CREATE TABLE "{table}" ({", ".join(columns)})')
            other.executemany(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(columns))})', rows)
        other.commit()
        return bytes(other.serialize())

    def imported(self, data: bytes, tables: Sequence[str]) -> None:
        other = sqlite3.connect(":memory:")
        try:
            other.deserialize(data)
            found = {table: other.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables}
        except sqlite3.Error as error:
            raise Refused(400, "bad_request", "Invalid request", f"gravity.db: {error}") from None
        for table, rows in found.items():
            self.base.execute(f'DELETE FROM "{table}"')
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                self.base.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)


def as_list(value: Any, word: str) -> list[str]:
    """The items of a POST, one or several."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(each, str) and each for each in items):
        message = f"Invalid request: No valid {json.dumps(word)} in payload (must be either string or array)"
        raise Refused(400, "bad_request", message)
    return items
