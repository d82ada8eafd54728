"""Which playbooks there are, what each is for, and the variables that a command line gives one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from homelab_provision import files, paths
from homelab_provision.errors import UsageError
from homelab_provision.text import did_you_mean

ENDINGS = (".yml", ".yaml")


@dataclass(frozen=True)
class PlaybookFile:
    """A playbook by its name; `purpose` is the first line of the comment at its head, `own` whether it is the
    toolkit's."""

    name: str
    path: Path
    purpose: str
    own: bool


def known(site: Path | None) -> list[PlaybookFile]:
    """The playbooks of the site, then our own."""
    folders = [(site / "playbooks", False)] if site else []
    folders.append((paths.content("playbooks"), True))
    return [
        PlaybookFile(path.name, path, purpose(path), own)
        for folder, own in folders
        for path in sorted(folder.glob("*"))
        if path.suffix in ENDINGS and path.is_file()
    ]


def find(word: str, site: Path) -> Path:
    """The playbook that is meant: a path, or a name (with or without its ending) of the site's or of ours.

    Raises `UsageError` that names what there is.
    """
    if (path := Path(word)).is_file():
        return path.resolve()
    there = known(site)
    for one in there:
        if word in (one.name, Path(one.name).stem):
            return one.path.resolve()
    names = [one.name for one in there]
    near = did_you_mean(word, [*names, *(Path(name).stem for name in names)])
    raise UsageError(
        f"there is no playbook `{word}`" + (f"; {near}" if near else ""),
        hint=f"`provision run --list` says what there is: {', '.join(dict.fromkeys(names))}",
    )


def purpose(path: Path) -> str:
    """The first line of the comment at the head of a playbook, else the name of its first play."""
    try:
        lines = files.read_text(path).splitlines()
    except (OSError, ValueError):
        return "(cannot be read)"
    head = next((line for line in lines if line.strip() not in ("", "---")), "")
    if head.startswith("#"):
        return head.lstrip("# ").strip()
    named = next((line for line in lines if line.lstrip("- ").startswith("name:")), "")
    return named.partition(":")[2].strip().strip("\"'")


def variables(words: Sequence[str]) -> dict[str, Any]:
    """The variables of `-e`: each word is `key=value …`, `@file` of YAML or JSON, or a mapping of either; later ones
    win. Raises `UsageError`; its text holds no value, which may be a secret."""
    found: dict[str, Any] = {}
    for word in words:
        found.update(_of_word(word))
    return found


def _of_word(word: str) -> dict[str, Any]:
    if word.startswith("@"):
        file = Path(word[1:]).expanduser()
        try:
            return _mapping(files.read_text(file), str(file))
        except (OSError, UnicodeError) as error:
            raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if word.lstrip().startswith("{"):
        return _mapping(word, "the mapping given with -e")
    return dict(_pairs(word))


def _pairs(word: str) -> Iterator[tuple[str, str]]:
    try:
        parts = shlex.split(word)
    except ValueError:
        raise UsageError("a word given with -e has a quote without its end") from None
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(
                "a word given with -e is no `name=value`",
                hint="as in: -e free_space_journal=100M, or -e @variables.yml",
            )
        yield name, value


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{where}{at}: this is no YAML") from None
    except RecursionError:
        raise UsageError(f"{where}: this is nested too deep") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) and name.isidentifier() for name in found):
        raise UsageError(f"{where}: variables are a mapping of names to values")
    return found
