"""Groups, lists, domains and clients: what FTL has, what is wanted, and the calls that make one of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .client import PiholeError, Session

# Whom no group is said for.
DEFAULT = "Default"
KINDS = ("groups", "lists", "domains", "clients")
NAMES = {"groups": "name", "lists": "address", "domains": "domain", "clients": "client"}
# What tells one from another besides its name, and the place of a batch of them.
APART: dict[str, tuple[str, ...]] = {"groups": (), "lists": ("type",), "domains": ("type", "kind"), "clients": ()}
# What most of them are.
USUAL = {"groups": {}, "lists": {"type": "block"}, "domains": {"type": "deny", "kind": "exact"}, "clients": {}}
Key = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    kind: str
    name: str
    apart: Key
    comment: str
    groups: frozenset[str]
    enabled: bool

    @property
    def key(self) -> Key:
        return (self.kind, *self.apart, self.name)

    @property
    def shown(self) -> str:
        """As in `domain deny exact ads.example.net`."""
        return " ".join([self.kind.removesuffix("s"), *self.apart, self.name])

    def body(self, ids: Mapping[str, int]) -> dict[str, Any]:
        told: dict[str, Any] = {"comment": self.comment or None}
        if self.kind == "groups":
            told["name"] = self.name
        else:
            told["groups"] = sorted(ids[name] for name in self.groups)
        if self.kind != "clients":
            told["enabled"] = self.enabled
        return told | dict(zip(APART[self.kind], self.apart, strict=True))


def wanted(kind: str, given: Mapping[str, Any]) -> Entry:
    """An entry in the words of the role. Raises `PiholeError` for what FTL would write otherwise."""
    given = {**USUAL[kind], **given}
    name = str(given[NAMES[kind]])
    if kind == "domains" and given["kind"] == "exact":
        if not name.isascii():
            hint = f"as in {name.encode('idna').decode()}"
            raise PiholeError(f"domain {name}: names are written as they are asked for, in ASCII", hint)
        name = name.lower().removesuffix(".")
    groups = frozenset() if kind == "groups" else frozenset(given.get("groups") or [DEFAULT])
    apart = tuple(str(given[word]) for word in APART[kind])
    enabled = given.get("enabled")
    return Entry(kind, name, apart, str(given.get("comment") or ""), groups, True if enabled is None else bool(enabled))


def current(session: Session) -> tuple[dict[Key, Entry], dict[str, int]]:
    """All that there is, and the numbers of the groups."""
    rows = {kind: session.get(kind)[kind] for kind in KINDS}
    ids = {str(row["name"]): int(row["id"]) for row in rows["groups"]}
    names = {number: name for name, number in ids.items()}
    found = [
        Entry(
            kind,
            str(row[NAMES[kind]]),
            tuple(str(row[word]) for word in APART[kind]),
            str(row.get("comment") or ""),
            frozenset(names[number] for number in row.get("groups", []) if number in names),
            bool(row.get("enabled", True)),
        )
        for kind in KINDS
        for row in rows[kind]
    ]
    return {entry.key: entry for entry in found}, ids


@dataclass(frozen=True)
class Plan:
    """What is to be added, changed and removed; groups come first, and go last."""

    added: Sequence[Entry]
    changed: Sequence[tuple[Entry, Entry]]
    removed: Sequence[Entry]

    @property
    def words(self) -> list[str]:
        return [
            *[f"add {entry.shown}" for entry in self.added],
            *[f"change {new.shown}: {_difference(old, new)}" for old, new in self.changed],
            *[f"remove {entry.shown}" for entry in self.removed],
        ]

    @property
    def touches_lists(self) -> bool:
        touched = [*self.added, *self.removed, *(new for old, new in self.changed if old.enabled != new.enabled)]
        return any(entry.kind == "lists" for entry in touched)


def plan(found: Mapping[Key, Entry], entries: Sequence[Entry], exclusive: bool) -> Plan:
    """Raises `PiholeError` for a group that nobody makes, and for an entry that is said twice."""
    ours = {entry.key: entry for entry in entries}
    if len(ours) != len(entries):
        twice = next(entry for entry in entries if ours[entry.key] is not entry)
        raise PiholeError(f"{twice.shown} is declared twice")
    groups = {entry.name for entry in (*found.values(), *entries) if entry.kind == "groups"}
    for entry in entries:
        if unknown := entry.groups - groups:
            raise PiholeError(f"{entry.shown}: there is no group {sorted(unknown)[0]}", "declare it in pihole_groups")
    order = sorted(entries, key=lambda entry: KINDS.index(entry.kind))
    gone = [
        entry for key, entry in found.items() if key not in ours and (entry.kind, entry.name) != ("groups", DEFAULT)
    ]
    return Plan(
        added=[entry for entry in order if entry.key not in found],
        changed=[(found[entry.key], entry) for entry in order if entry.key in found and found[entry.key] != entry],
        removed=sorted(gone, key=lambda entry: -KINDS.index(entry.kind)) if exclusive else [],
    )


def carry_out(session: Session, todo: Plan, ids: Mapping[str, int]) -> None:
    ids = dict(ids)
    for entry in (*todo.added, *(new for _, new in todo.changed)):
        fresh = entry in todo.added
        path, body = _path(entry, fresh), entry.body(ids)
        if fresh:
            body |= {NAMES[entry.kind]: entry.name}
        told = session.send("POST" if fresh else "PUT", path, body)
        # FTL counts an entry that it could not add as done, and says so beside it.
        if failed := (told.get("processed") or {}).get("errors"):
            raise PiholeError(f"{entry.shown} could not be written: {failed[0].get('error')}")
        if entry.kind == "groups":
            ids[entry.name] = next(int(row["id"]) for row in told["groups"] if row["name"] == entry.name)
    for kind in reversed(KINDS):
        batch = [
            {"item": entry.name, **dict(zip(APART[kind], entry.apart, strict=True))}
            for entry in todo.removed
            if entry.kind == kind
        ]
        if batch:
            # With the type in the query, or another word for `item`, it removes nothing (FTL#2377, FTL#2528).
            session.send("POST", f"{kind}:batchDelete", batch)


def _path(entry: Entry, fresh: bool) -> str:
    place = "/".join([entry.kind, *(entry.apart if entry.kind == "domains" else ())])
    if not fresh:
        place += f"/{quote(entry.name, safe='')}"
    return place + (f"?type={entry.apart[0]}" if entry.kind == "lists" else "")


def _difference(old: Entry, new: Entry) -> str:
    shown = [
        ("comment", old.comment, new.comment),
        ("groups", sorted(old.groups), sorted(new.groups)),
        ("enabled", old.enabled, new.enabled),
    ]
    return ", ".join(f"{word} {before!r} → {after!r}" for word, before, after in shown if before != after)
