"""A STAND-IN for pihole-FTL: its configuration, kept in pihole.toml, and which keys the environment has taken."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .keys import HIDDEN, KEYS, Key

PASSWORD, HASH = "webserver.api.password", "webserver.api.pwhash"


class Refused(Exception):
    """An error as the API tells it."""

    def __init__(self, status: int, key: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"key": key, "message": message, "hint": hint}}


def hashed(password: str, salt: str | None = None) -> str:
    salt = salt or secrets.token_hex(8)
    return f"$STAND-IN${salt}${hashlib.sha256((salt + password).encode()).hexdigest()}"


def fits(password: str, known: str) -> bool:
    return bool(known) and secrets.compare_digest(known, hashed(password, known.split("$")[2]))


class Settings:
    """The values by their dotted names. `forced` are those of the environment, which nothing else changes."""

    def __init__(self, file: Path, environment: Mapping[str, str], keys: Mapping[str, Key] = KEYS) -> None:
        self.file, self.keys = file, keys
        self.values = {name: copy.deepcopy(key.default) for name, key in keys.items()}
        if file.exists():
            self.take(tomllib.loads(file.read_text()))
        self.forced: set[str] = set()
        for name, key in keys.items():
            given = environment.get(f"FTLCONF_{name.replace('.', '_')}")
            if given is not None:
                self.forced.add(name)
                self.values[name] = key.from_text(given)
        if PASSWORD in self.forced:
            self._set_password(self.values, self.values[PASSWORD])
        self.values[PASSWORD] = ""
        self.save()

    def take(self, document: Mapping[str, Any]) -> None:
        """Values from a pihole.toml; a key that is not in it keeps its value."""
        for name in self.keys:
            found = _at(document, name.split("."))
            if found is not None and name != PASSWORD:
                self.values[name] = found

    def save(self) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(self.text())
        new.replace(self.file)

    def text(self) -> str:
        """As FTL writes it: table by table, with a remark at what is not the default."""
        lines = ["# Pi-hole configuration file (of a stand-in)"]
        tables = sorted({name.rpartition(".")[0] for name in self.keys})
        for table in tables:
            lines += ["", f"[{table}]"]
            for name, key in self.keys.items():
                parent, _, leaf = name.rpartition(".")
                if parent == table and not key.hidden:
                    changed = "" if self.values[name] == key.default else " ### CHANGED"
                    lines.append(f"  {leaf} = {json.dumps(self.values[name], ensure_ascii=False)}{changed}")
        return "\n".join(lines) + "\n"

    def shown(self, path: Sequence[str] = (), detailed: bool = False) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for name, key in self.keys.items():
            words = name.split(".")
            if words[: len(path)] != list(path):
                continue
            place = answer
            for word in words[:-1]:
                place = place.setdefault(word, {})
            place[words[-1]] = self._leaf(name, key) if detailed else self._value(name, key)
        return answer

    def _value(self, name: str, key: Key) -> Any:
        return HIDDEN if key.hidden else self.values[name]

    def _leaf(self, name: str, key: Key) -> dict[str, Any]:
        flags = {"restart_dnsmasq": key.restart, "session_reset": key.resets, "env_var": name in self.forced}
        told = {"description": name, "allowed": list(key.allowed) or None, "type": key.kind}
        modified = self.values[name] != key.default
        return told | {"value": self._value(name, key), "default": key.default, "modified": modified, "flags": flags}

    def patched(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values that change, by name. Keys that FTL does not know it passes over without a word."""
        changed: dict[str, Any] = {}
        for name, key in self.keys.items():
            value = _at(given, name.split("."))
            if value is None or (key.hidden and value == HIDDEN):
                continue
            if why := key.refusal(value):
                raise Refused(400, "bad_request", "Config item is invalid", f"{name}: {why}")
            value = value.upper() if key.allowed else value
            if value == self.values[name] and not key.hidden:
                continue
            self._refuse_forced(name)
            changed[name] = value
        return changed

    def with_item(self, path: Sequence[str], present: bool) -> dict[str, Any]:
        """The array that changes when an item (the last word of the path) is added to it or taken off."""
        name, item = ".".join(path[:-1]), path[-1]
        key = self.keys.get(name)
        if len(path) < 2:
            raise Refused(400, "bad_request", "Invalid path depth")
        if key is None or "array" not in key.kind:
            raise Refused(404, "not_found", "Not found")
        self._refuse_forced(name)
        current = list(self.values[name])
        if present and item in current:
            raise Refused(400, "bad_request", "Item already present", "Uniqueness of items is enforced")
        if not present and item not in current:
            raise Refused(404, "not_found", "Not found")
        return {name: [*current, item] if present else [each for each in current if each != item]}

    def _refuse_forced(self, name: str) -> None:
        if name in self.forced:
            message = "Config items set via environment variables cannot be changed via the API"
            raise Refused(400, "bad_request", message, name)

    def install(self, changed: Mapping[str, Any]) -> None:
        for name, value in changed.items():
            if name == PASSWORD:
                self._set_password(self.values, value)
            else:
                self.values[name] = value
        self.save()

    @staticmethod
    def _set_password(values: dict[str, Any], password: str) -> None:
        if not password:
            values[HASH] = ""
        elif not fits(password, values[HASH]):
            values[HASH] = hashed(password)


def _at(document: Any, path: Sequence[str]) -> Any:
    for word in path:
        if not isinstance(document, Mapping) or word not in document:
            return None
        document = document[word]
    return document


def environment() -> dict[str, str]:
    """What the image's start script makes of it: the password comes from a file below /run/secrets."""
    found = dict(os.environ)
    file = Path("/run/secrets") / found.get("WEBPASSWORD_FILE", "none")
    if "FTLCONF_webserver_api_password" not in found and file.is_file():
        found["FTLCONF_webserver_api_password"] = file.read_text().removesuffix("\n")
    return found
