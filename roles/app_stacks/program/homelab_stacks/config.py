"""What the role wrote down about this host's stacks, checked before anything relies on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from homelab_host import document
from homelab_host.errors import Trouble

from .values import Wrong, absolute, apart, get, object_of, relative

ROLE = "app_stacks"
HINT = "play the role `app_stacks` on this host: it writes the file"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")
_UNIT = re.compile(r"[A-Za-z0-9_@.:-]+\.service")
_SECRET_IN_URL = re.compile(r"//[^/@]*:[^/@]*@")


class Kind(Enum):
    COMPOSE = "compose"
    SERVICE = "service"


@dataclass(frozen=True)
class Fact:
    """A question to a stack; its answer is what the command prints. With `service` it runs in that container."""

    name: str
    command: tuple[str, ...]
    service: str | None


@dataclass(frozen=True)
class Stack:
    """One stack, and what of it is kept: `paths` below its folder, none of them inside another."""

    name: str
    kind: Kind
    version: str
    folder: Path
    project: Path
    unit: str
    paths: tuple[str, ...]
    before: str
    after: str
    facts: tuple[Fact, ...]

    @property
    def sources(self) -> list[Path]:
        return [self.folder / path for path in self.paths]


@dataclass(frozen=True)
class Second:
    """A repository elsewhere, as restic calls it; its credentials lie in a file of `KEY=value` lines."""

    repository: str
    environment_file: Path | None
    certificate: Path | None


@dataclass(frozen=True)
class Keep:
    """How many days, weeks and months keep their last backup."""

    daily: int
    weekly: int
    monthly: int


@dataclass(frozen=True)
class Setup:
    host: str
    share: Path | None
    key_file: Path
    second: Second | None
    keep: Keep
    stacks: tuple[Stack, ...]

    @property
    def kept(self) -> list[Stack]:
        """The stacks that have something to keep."""
        return [stack for stack in self.stacks if stack.paths]


def load(path: Path) -> Setup:
    """Read the file that the role writes; raises `Trouble` that names what is wrong with it."""
    return document.load(path, parse, HINT)


def parse(text: str) -> Setup:
    """The settings from JSON; unknown keys are left to others. Raises `Trouble`."""
    try:
        return _setup(object_of(document.decoded(text), "the whole"))
    except Wrong as wrong:
        raise Trouble(str(wrong)) from None


def _setup(top: Mapping[str, Any]) -> Setup:
    stacks = tuple(_stack(each, f"stacks[{number}]") for number, each in enumerate(get(top, "stacks", list, "")))
    for field in ("name", "folder"):
        values = [str(getattr(stack, field)) for stack in stacks]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise Wrong(f"two stacks have the {field} {twice[0]}")
    share = top.get("share")
    return Setup(
        get(top, "host", str, ""),
        None if share is None else absolute(top, "share", ""),
        absolute(top, "key_file", ""),
        _second(top.get("second")),
        _keep(object_of(top.get("keep"), "keep")),
        stacks,
    )


def _stack(found: object, where: str) -> Stack:
    told = object_of(found, where)
    name = get(told, "name", str, where)
    if not _NAME.fullmatch(name):
        raise Wrong(f"{where}: the name {name!r} has to be of a to z, 0 to 9, - and _")
    where = f"stack {name}"
    try:
        kind = Kind(get(told, "kind", str, where))
    except ValueError:
        raise Wrong(f"{where}: `kind` has to be compose or service, not {told['kind']!r}") from None
    unit = get(told, "unit", str, where)
    if not _UNIT.fullmatch(unit):
        raise Wrong(f"{where}: {unit!r} is no service of systemd")
    keep = object_of(told.get("backup"), f"{where}, backup")
    try:
        paths = apart([relative(path) for path in get(keep, "paths", list, f"{where}, backup")])
    except Wrong as wrong:
        raise Wrong(f"{where}, backup, paths: {wrong}") from None
    facts = tuple(_fact(each, kind, f"{where}, backup, facts") for each in get(keep, "facts", list, where))
    if len({fact.name for fact in facts}) < len(facts):
        raise Wrong(f"{where}: two facts have one name")
    version, folder, project = get(told, "version", str, where), absolute(told, "folder", where), Path("/")
    if kind is Kind.COMPOSE:
        project = absolute(told, "project", where)
    before, after = get(keep, "before", str, where), get(keep, "after", str, where)
    return Stack(name, kind, version, folder, project, unit, paths, before, after, facts)


def _fact(found: object, kind: Kind, where: str) -> Fact:
    told = object_of(found, where)
    name, command = get(told, "name", str, where), get(told, "command", list, where)
    if not name or not command or not all(isinstance(word, str) and word for word in command):
        raise Wrong(f"{where}: a fact has a name, and a command of words that are not empty")
    service = told.get("service")
    if service is not None and (not isinstance(service, str) or not _NAME.fullmatch(service.lower())):
        raise Wrong(f"{where}: {service!r} is no service of a compose project")
    if service is not None and kind is not Kind.COMPOSE:
        raise Wrong(f"{where}: {name} is asked of the service {service}, but only compose projects have some")
    return Fact(name, tuple(command), service)


def _second(found: object) -> Second | None:
    if found is None:
        return None
    told = object_of(found, "second")
    repository = get(told, "repository", str, "second")
    if not repository or repository.startswith("-") or _SECRET_IN_URL.search(repository):
        raise Wrong("second: `repository` is no repository, or has a password in it: that belongs into its environment")
    files = {name: told.get(name) and absolute(told, name, "second") for name in ("environment_file", "certificate")}
    return Second(repository, files["environment_file"] or None, files["certificate"] or None)


def _keep(told: Mapping[str, Any]) -> Keep:
    values = [get(told, name, int, "keep") for name in ("daily", "weekly", "monthly")]
    if min(values) < 0 or sum(values) == 0:
        raise Wrong("keep: the numbers are not negative, and one of them keeps something")
    return Keep(*values)
