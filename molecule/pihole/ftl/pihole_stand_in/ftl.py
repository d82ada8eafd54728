"""A STAND-IN for pihole-FTL: what each path of its API does, apart from how it is asked over HTTP."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from . import gravity as tables
from . import teleporter
from .gravity import DOMAINS, LISTS, Gravity
from .keys import KEYS, Key
from .resolver import Resolver
from .sessions import Sessions
from .settings import Refused, Settings, hashed

# How long nobody is answered while FTL starts anew.
RESTART_SECONDS = 0.3
NOT_FOUND = Refused(404, "not_found", "Not found")


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    json: Any = None
    kind: str = ""
    body: bytes = b""
    remote: str = ""
    agent: str | None = None
    sid: str | None = None
    seat: int | None = None
    forged: bool = False


@dataclass(frozen=True)
class Reply:
    """`body`: JSON, text, an archive, or nothing at all."""

    status: int
    body: dict[str, Any] | str | bytes | None = None


class Ftl:
    """`resolver`: None in tests that ask no names."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        resolver: Resolver | None = None,
        keys: Mapping[str, Key] = KEYS,
    ) -> None:
        self.lock = threading.RLock()
        self.settings = Settings(folder / "pihole.toml", environment, keys)
        self.gravity = Gravity(folder / "gravity.db")
        self.sessions = Sessions(self.settings)
        self.resolver = resolver
        self.silent_until = 0.0
        self.log: list[str] = []
        self.start()

    def start(self) -> None:
        if self.resolver:
            self.reload()
            self.resolver.start(self.settings.values)

    def reload(self) -> None:
        """What is blocked, and the local records; dnsmasq reads most of its files anew, but not all."""
        if self.resolver:
            active = self.settings.values["dns.blocking.active"]
            exact, below = self.gravity.blocked() if active else ([], [])
            self.resolver.write(self.settings.values["dns.hosts"], exact, below)
            if self.resolver.process:
                self.resolver.start(self.settings.values)

    def restart(self) -> None:
        if not self.settings.values["webserver.session.restore"]:
            self.sessions.seats.clear()
        self.silent_until = time.monotonic() + RESTART_SECONDS
        self.start()

    def answer(self, asked: Request) -> Reply:
        with self.lock:
            self.log.append(f"{asked.method} {asked.path}")
            try:
                return self._answer(asked)
            except Refused as refused:
                return Reply(refused.status, refused.body)

    def _answer(self, asked: Request) -> Reply:
        asked.seat = None if asked.sid is None or asked.forged else self.sessions.find(asked.sid)
        words = [unquote(word) for word in asked.path.strip("/").split("/")]
        if words[:1] != ["api"]:
            raise NOT_FOUND
        if words[1:] == ["auth"]:
            return self._auth(asked)
        if asked.seat is None and not self.sessions.open_to_all:
            raise Refused(401, "unauthorized", "Unauthorized")
        match asked.method, words[1:]:
            case "GET", ["auth", "sessions"]:
                return Reply(200, self.sessions.all(asked.seat))
            case "DELETE", ["auth", "session", seat] if seat.isdigit():
                return self._end(int(seat))
            case "GET", ["auth", "app"]:
                password = secrets.token_urlsafe(24)
                return Reply(200, {"app": {"password": password, "hash": hashed(password)}})
            case method, ["config", *path]:
                return self._config(asked, method, path)
            case "GET" | "POST" as method, ["dns", "blocking"]:
                return self._blocking(asked, method)
            case "GET", ["info", "version"]:
                local = {"branch": "master", "version": "v6.4.1", "hash": "stand-in"}
                parts = {name: {"local": local, "remote": local} for name in ("core", "web", "ftl")}
                return Reply(200, {"version": {**parts, "docker": {"local": "stand-in", "remote": None}}})
            case "POST", ["action", "gravity"]:
                said = self.gravity.update()
                self.reload()
                return Reply(200, said)
            case "POST", ["action", "restartdns"]:
                self.restart()
                return Reply(200, {"status": "success"})
            case "GET", ["teleporter"]:
                return Reply(200, teleporter.exported(self.settings, self.gravity))
            case "POST", ["teleporter"]:
                fields = teleporter.form(asked.kind, asked.body)
                taken = teleporter.imported(self.settings, self.gravity, fields)
                self.restart()
                return Reply(200, {"files": taken})
            case _, [name, *rest] if name.partition(":")[0] in tables.KINDS:
                return self._entries(asked, name, rest)
        raise NOT_FOUND

    # ---- sessions -----------------------------------------------------------------------------------------------

    def _auth(self, asked: Request) -> Reply:
        if asked.method == "DELETE":
            if asked.seat is None:
                return Reply(401, self.sessions.shown(None, "session unknown"))
            return self._end(asked.seat)
        if asked.method == "POST":
            password = (asked.json or {}).get("password") if isinstance(asked.json, dict) else None
            if not isinstance(password, str):
                raise Refused(400, "bad_request", "No password found in JSON payload")
            if self.sessions.open_to_all and not password:
                return Reply(200, self.sessions.shown(None, "no password set"))
            seat = self.sessions.log_in(password, asked.remote, asked.agent)
            if seat is None:
                return Reply(401, self.sessions.shown(None, "password incorrect"))
            return Reply(200, self.sessions.shown(seat, "password correct"))
        known = asked.seat is not None or self.sessions.open_to_all
        return Reply(200 if known else 401, self.sessions.shown(asked.seat, "session"))

    def _end(self, seat: int) -> Reply:
        if self.sessions.seats.pop(seat, None) is None:
            raise Refused(400, "bad_request", "Session ID not in use")
        return Reply(204)

    # ---- configuration ------------------------------------------------------------------------------------------

    def _config(self, asked: Request, method: str, path: list[str]) -> Reply:
        if method == "GET":
            return Reply(200, {"config": self.settings.shown(path, asked.query.get("detailed") == "true")})
        session = self.sessions.seats.get(-1 if asked.seat is None else asked.seat)
        if session and session.app and not self.settings.values["webserver.api.app_sudo"]:
            hint = "The current app session is not allowed to modify Pi-hole config settings"
            message = "Unable to change configuration (read-only)"
            raise Refused(403, "forbidden", message, f"{hint} (webserver.api.app_sudo is false)")
        if method == "PATCH" and not path:
            given = asked.json.get("config") if isinstance(asked.json, dict) else None
            if not isinstance(given, dict):
                raise Refused(400, "body_error", 'No "config" object in body data')
            self._install(self.settings.patched(given), asked)
            return Reply(200, {"config": self.settings.shown()})
        if method in ("PUT", "DELETE") and path:
            self._install(self.settings.with_item(path, present=method == "PUT"), asked)
            return Reply(201, {}) if method == "PUT" else Reply(204)
        raise NOT_FOUND

    def _install(self, changed: dict[str, Any], asked: Request) -> None:
        restarts = any(self.settings.keys[name].restart for name in changed)
        if restarts and self.resolver:
            self.resolver.accept(self.settings.values | changed)
        self.settings.install(changed)
        if any(self.settings.keys[name].resets for name in changed):
            self.sessions.seats.clear()
        if restarts and asked.query.get("restart") != "false":
            self.restart()
        elif changed:
            self.reload()

    def _blocking(self, asked: Request, method: str) -> Reply:
        name = "dns.blocking.active"
        if method == "POST":
            given = asked.json.get("blocking") if isinstance(asked.json, dict) else None
            if not isinstance(given, bool):
                raise Refused(400, "body_error", 'No "blocking" boolean in body data')
            self.settings.install({name: given})
            self.reload()
        return Reply(200, {"blocking": "enabled" if self.settings.values[name] else "disabled", "timer": None})

    # ---- lists, domains, groups, clients ------------------------------------------------------------------------

    def _entries(self, asked: Request, name: str, rest: list[str]) -> Reply:
        name, _, batch = name.partition(":")
        types = self._types(asked, name, rest)
        item = (rest[2:] if name == "domains" else rest)[:1]
        given = asked.json if isinstance(asked.json, dict) else {}
        if batch == "batchDelete" and asked.method == "POST":
            return self._batch_delete(asked, name)
        if asked.method == "GET":
            return Reply(200, {name: self.gravity.read(name, types, "".join(item))})
        if name in ("lists", "domains") and len(types) != 1:
            words = {"domains": "list to modify more precisely", "lists": 'type parameter ("allow" or "block")'}
            raise Refused(400, "bad_request", f"Invalid request: Specify {words[name]}")
        type_ = types[0] if types else None
        if asked.method == "DELETE" and item:
            gone = self.gravity.delete(name, [(item[0], type_)])
            self.reload()
            return Reply(204 if gone else 404, None if gone else {})
        if asked.method not in ("POST", "PUT") or (asked.method == "PUT") != bool(item):
            raise NOT_FOUND
        word = tables.KINDS[name].word
        items = item or tables.as_list(given.get(word), word)
        done = self.gravity.write(name, items, given, type_, new=asked.method == "POST")
        self.reload()
        shown = self.gravity.read(name, types, items[-1])
        return Reply(201 if asked.method == "POST" else 200, {name: shown, "processed": done})

    @staticmethod
    def _types(asked: Request, name: str, rest: list[str]) -> list[int]:
        """The numbers of the types that a request is about: of lists by the query, of domains by the path."""
        if name == "domains":
            return [number for number, words in enumerate(DOMAINS) if all(word in words for word in rest[:2])]
        if name == "lists" and "type" in asked.query:
            if asked.query["type"] not in LISTS:
                raise Refused(400, "bad_request", "Invalid request: Invalid type parameter", asked.query["type"])
            return [LISTS.index(asked.query["type"])]
        return []

    def _batch_delete(self, asked: Request, name: str) -> Reply:
        if not isinstance(asked.json, list) or not all(isinstance(each, dict) for each in asked.json):
            raise Refused(400, "bad_request", "Invalid request: Batch delete requires an array of objects")
        if not all(isinstance(each.get("item"), str) for each in asked.json):
            message = 'Invalid request: Batch delete requires an array of objects with "item" as string'
            raise Refused(400, "bad_request", message)
        entries: list[tuple[str, int | None]] = []
        for each in asked.json:
            if name == "lists":
                # With a type in the query FTL looks for the item in the path, and there is none.
                known = each.get("type") in LISTS and "type" not in asked.query
                entries.append((each["item"], LISTS.index(each["type"]) if known else -1))
            elif name == "domains":
                words = (each.get("type"), each.get("kind"))
                if words not in DOMAINS:
                    message = 'Invalid request: Batch delete requires an valid combination of "type" and "kind"'
                    raise Refused(400, "bad_request", message)
                entries.append((each["item"], DOMAINS.index(words)))
            else:
                entries.append((each["item"], None))
        gone = self.gravity.delete(name, entries)
        self.reload()
        return Reply(204 if gone else 404, None if gone else {})
