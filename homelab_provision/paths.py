"""Where things lie on the controller (XDG base directories) and inside the package."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from homelab_provision.errors import UsageError

NAME = "homelab-provision"
PACKAGE = Path(__file__).resolve().parent
# Where the ways into the rescue system are, and the operators: a file each.
WAYS = [PACKAGE / "ways"]
# In the place of a way's name: the safest that can be gone.
AUTO = "auto"
OPERATORS = [PACKAGE / "operators"]


def _xdg(variable: str, default: str) -> Path:
    base = os.environ.get(variable)
    if base and Path(base).is_absolute():  # the specification: a relative one is not valid, and ignored
        return Path(base) / NAME
    try:
        return Path.home() / default / NAME
    except RuntimeError:
        raise UsageError("there is no home directory", hint=f"set HOME, or {variable}") from None


def private(directory: Path) -> Path:
    """Make a directory that only its owner can read, with what is missing above it, and return it."""
    for missing in reversed([one for one in (directory, *directory.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
    return directory


# Naming a place makes nothing: who writes there says `private`.


def cache() -> Path:
    """Images and rescue systems: everything here can be made again."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def state() -> Path:
    """Runs, locks and the disks of the lab."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def runs() -> Path:
    return state() / "runs"


def locks() -> Path:
    return state() / "locks"


def lab(namespace: str) -> Path:
    return state() / "lab" / namespace


def ways() -> tuple[str, ...]:
    """The names of the ways into the rescue system (nothing is imported)."""
    return _modules(WAYS)


def way_choices() -> tuple[str, ...]:
    """What may stand for a way: each of them, and that the safest that can be gone is to be found."""
    return (*ways(), AUTO)


def operators() -> tuple[str, ...]:
    """The names of those who can act on a box (nothing is imported)."""
    return _modules(OPERATORS)


def _modules(folders: Iterable[Path]) -> tuple[str, ...]:
    packages = [file.parent.name for folder in folders for file in folder.glob("[!_]*/__init__.py")]
    return tuple(sorted(packages + [file.stem for folder in folders for file in folder.glob("[!_]*.py")]))


def files_below(folder: Path) -> list[Path]:
    """The files below a folder of our content, in order. What a Python that ran there has compiled is no part of it."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def folders_above(names: Iterable[str]) -> list[str]:
    """The folders that files of these names (relative ones) lie in, outer ones first."""
    return sorted({str(above) for name in names for above in PurePosixPath(name).parents} - {"."})


def content(name: str) -> Path:
    """`playbooks`, `roles` or `inventories`: inside the package when installed from a wheel, beside it in a clone."""
    inside = PACKAGE / "content" / name
    return inside if inside.exists() else PACKAGE.parent / name
