"""Values from JSON: of the kind that is wanted, and paths that lead nowhere else. What is none raises `Wrong`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

# Where projects and data of the stacks lie.
PROJECTS, DATA = Path("/etc/homelab-provision/stacks"), Path("/srv/stacks")
# Beside the data while it is restored; no path of a stack may begin like that.
RESTORING, REPLACED = ".restore-", ".before-restore-"


class Wrong(ValueError):
    """Says what is wrong with a value, and where it stands."""


def relative(path: object) -> str:
    """A path below a stack's folder, as it is written shortest; raises `Wrong` for one that could leave it."""
    if not isinstance(path, str) or not path.isprintable():
        raise Wrong(f"{path!r} is no path")
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith((RESTORING, REPLACED)):
        raise Wrong(f"{path!r} is no path below the stack's folder")
    return str(PurePosixPath(*parts))


def apart(paths: list[str]) -> tuple[str, ...]:
    """These paths, of which none may lie in another: each is replaced as a whole. Raises `Wrong`."""
    for path in paths:
        for other in paths:
            if PurePosixPath(other) in PurePosixPath(path).parents:
                raise Wrong(f"{path!r} lies in {other!r}, which is kept already")
    if len(set(paths)) < len(paths):
        raise Wrong("a path is named twice")
    return tuple(paths)


def plain(path: object) -> Path:
    """An absolute path without detours; raises `Wrong`."""
    if not isinstance(path, str) or not path.isprintable():
        raise Wrong(f"{path!r} is no path")
    if not path.startswith("/") or path.startswith("//") or ".." in PurePosixPath(path).parts or path == "/":
        raise Wrong(f"{path!r} is no absolute path")
    return Path(path)


def object_of(found: object, where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise Wrong(f"{where} is no JSON object")
    return found


def get(found: Mapping[str, Any], name: str, desired: type, where: str) -> Any:
    prefix = f"{where}: " if where else ""
    if name not in found:
        raise Wrong(f"{prefix}`{name}` is missing")
    if type(found[name]) is not desired:
        raise Wrong(f"{prefix}`{name}` has to be {desired.__name__}, not {found[name]!r}")
    return found[name]


def absolute(found: Mapping[str, Any], name: str, where: str) -> Path:
    prefix = f"{where}: " if where else ""
    try:
        return plain(get(found, name, str, where))
    except Wrong as wrong:
        raise Wrong(str(wrong) if "`" in str(wrong) else f"{prefix}`{name}`: {wrong}") from None
