"""The package's structure: no import runs upward, and whoever opens the folder sees few things."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from homelab_provision.paths import PACKAGE

# From the ground up: a module imports from its own row and from those above it in this list.
LAYERS = (
    "text",
    "errors",
    "events",
    "paths",
    "files",
    "doors",
    "rescue",
    "report",
    "site",
    "image",
    "machine",
    "identity",
    "runs",
    "data",
    "lab",
    "operators",
    "ways",
    "phases",
    "jobs",
    "doctor",
    "cli",
    "__main__",
)
MOST_AT_THE_TOP = 30
ROOT = PACKAGE.parent


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """What a module imports of the package, with the line: `phases.flash`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE.name:
            names = [f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__"]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
        else:
            continue
        for name in names:
            if name.startswith(f"{PACKAGE.name}."):
                yield node.lineno, name.removeprefix(f"{PACKAGE.name}.")


def upward(package: Path) -> list[str]:
    """Every import from a lower layer to a higher one."""
    rank = {name: number for number, name in enumerate(LAYERS)}
    found = []
    for file in sorted(package.rglob("*.py")):
        inside = file.relative_to(package)
        if inside.name == "__init__.py" and len(inside.parts) == 1:
            continue
        own = inside.with_suffix("").parts[0]
        found += [f"{inside}:{line}: {name}" for line, name in imports(file) if rank[name.split(".")[0]] > rank[own]]
    return found


def at_the_top(folder: Path, *, modules: bool) -> set[str]:
    """Folders that hold something of ours, and modules."""
    folders = {each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__"))}
    return folders | {each.stem for each in folder.glob("[!_]*.py") if modules}


def test_no_import_runs_upward() -> None:
    assert upward(PACKAGE) == []


@pytest.mark.negative
def test_an_import_that_runs_upward_is_seen(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "loading.py").write_text(
        "def load():\n    from homelab_provision.lab.reach import door\n    from homelab_provision import cli, paths\n"
    )
    (tmp_path / "jobs.py").write_text("import homelab_provision.cli.main\nfrom homelab_provision.site import Site\n")
    assert upward(tmp_path) == [
        "jobs.py:1: cli.main",
        "site/loading.py:2: lab.reach",
        "site/loading.py:3: cli",
    ]


def test_every_part_of_the_package_has_its_layer() -> None:
    assert at_the_top(PACKAGE, modules=True) == set(LAYERS) - {"__main__"}


def test_whoever_opens_the_folders_sees_few_things() -> None:
    seen = [*at_the_top(PACKAGE, modules=True), *(at_the_top(ROOT, modules=False) - {"dist", "build"})]
    assert len(seen) <= MOST_AT_THE_TOP, sorted(seen)
