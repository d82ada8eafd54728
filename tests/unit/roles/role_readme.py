"""The README of a role, made from its argument specification: `python tests/unit/roles/role_readme.py` writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"


def roles() -> list[Path]:
    """Every role of the project."""
    return sorted(path.parent for path in ROLES.glob("*/tasks"))


def specification(role: Path) -> dict[str, Any]:
    """The entry points of a role and their options."""
    loaded: dict[str, Any] = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    return loaded


def readme(role: Path) -> str:
    """The text of the README."""
    lines = [f"# Role `{role.name}`", ""]
    for name, entry in specification(role).items():
        lines += [] if name == "main" else [f"## Entry point `{name}`", ""]
        lines += [*_sentences(entry), "", *_table(entry.get("options", {})), ""]
    lines += ["Its tests, and with them what the role promises, are in `verify/`.", ""]
    return "\n".join(lines)


def _sentences(entry: dict[str, Any]) -> list[str]:
    return [_plain(text) for text in _list(entry.get("description", entry["short_description"]))]


def _table(options: dict[str, Any]) -> Iterator[str]:
    if options:
        yield from ("| variable | default | meaning |", "|---|---|---|")
    for name, option in options.items():
        yield f"| `{name}` | {_default(option)} | {_meaning(option)} |"


def _default(option: dict[str, Any]) -> str:
    return "required" if option.get("required") else f"`{json.dumps(option.get('default'), ensure_ascii=False)}`"


def _meaning(option: dict[str, Any]) -> str:
    parts = [_plain(text) for text in _list(option["description"])]
    parts += [
        f"`{name}`: {_plain(' '.join(_list(sub['description'])))}" for name, sub in option.get("options", {}).items()
    ]
    return "<br>".join(parts)


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _plain(text: str) -> str:
    # C(x) is how Ansible's documentation writes code.
    return re.sub(r"C\(([^)]*)\)", r"`\1`", text)


if __name__ == "__main__":
    for one in roles():
        (one / "README.md").write_text(readme(one))
