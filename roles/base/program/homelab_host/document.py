"""A document of JSON that a role writes for its program: read as a whole or not at all, and what is wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from .errors import Trouble

Config = TypeVar("Config")


def load(path: Path, parse: Callable[[str], Config], hint: str) -> Config:
    """What `parse` makes of the text of a file. Raises `Trouble`, as `parse` does, that names the file.

    `hint` is how to mend what has no better one.
    """
    try:
        return parse(path.read_text())
    except OSError as error:
        raise Trouble(f"cannot read {path}: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise Trouble(f"{path}: it is damaged: no text", hint) from None
    except Trouble as trouble:
        raise Trouble(f"{path}: {trouble.message}", trouble.hint or hint) from None


def decoded(text: str) -> Any:
    """The JSON. Raises `Trouble`; nothing of the text, which may hold a secret, is in what it says."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Trouble("it is damaged: no whole JSON document") from None


class Reader:
    """Reads values of an object, and raises `Trouble` that says where one is wrong: `where` is before its name."""

    def __init__(self, where: str, values: object) -> None:
        if not isinstance(values, dict):
            raise Trouble(f"{where.rstrip('.') or 'it'}: an object is expected")
        self.where: str = where
        self.values: dict[str, Any] = values

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def number(self, key: str, least: int, most: int) -> int:
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, f"a number from {least} to {most}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def each(self, key: str, default: list[Any] | None = None) -> list[Any]:
        value = self.values.get(key, default)
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in choices:
            raise self.wrong(key, f"one of {', '.join(choices)} (and not {value!r})")
        return value

    def inner(self, key: str) -> Self:
        """The object below this key."""
        return type(self)(f"{self.where}{key}.", self.values.get(key))

    def inners(self, key: str, default: list[Any] | None = None) -> list[Self]:
        """The objects in the list below this key."""
        return [type(self)(f"{self.where}{key}[{at}].", each) for at, each in enumerate(self.each(key, default))]

    def wrong(self, key: str, expected: str) -> Trouble:
        return Trouble(f"{self.where}{key}: {expected} is expected")
