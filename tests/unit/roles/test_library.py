"""The library of roles' programs is the role base's, which is played before every role whose program imports it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision import paths

ROLES = (paths.content("roles"), Path(__file__).parents[2] / "fixtures/roles")
SITE = paths.content("playbooks") / "site.yml"
SCENARIOS = sorted((Path(__file__).parents[3] / "molecule").glob("*/converge.yml"))
IMPORT = re.compile(r"^\s*(?:from|import) homelab_host\b", re.MULTILINE)


def role(name: str) -> Path:
    return next(folder / name for folder in ROLES if (folder / name).exists())


def imports(name: str) -> bool:
    return any(IMPORT.search(file.read_text()) for file in (role(name) / "program").rglob("*.py"))


def plays(file: Path) -> Iterator[dict[str, Any]]:
    for play in yaml.safe_load(file.read_text()):
        imported = play.get("import_playbook") or play.get("ansible.builtin.import_playbook")
        yield from plays(file.parent / imported) if imported else [play]


def played(name: str) -> Iterator[str]:
    """A role after those that it depends on."""
    for needed in yaml.safe_load((role(name) / "meta/main.yml").read_text()).get("dependencies") or []:
        yield from played(needed["role"])
    yield name


def order(play: dict[str, Any]) -> Iterator[str]:
    """The roles of a play; `base` also where only its entry point for the library is played."""
    for task in play.get("pre_tasks") or []:
        if task.get("ansible.builtin.import_role") == {"name": "base", "tasks_from": "program"}:
            yield "base"
    for each in play.get("roles") or []:
        yield from played(each["role"])


def without_library(file: Path) -> list[str]:
    """The roles whose program would find no library where this is played on new hosts."""
    ready: list[set[str]] = []
    lacking = []
    for play in plays(file):
        hosts = set(play["hosts"].split(":&"))
        for name in order(play):
            if name == "base":
                ready.append(hosts)
            elif imports(name) and not any(earlier <= hosts for earlier in ready):
                lacking.append(name)
    return lacking


def test_programs_import_it() -> None:
    assert {"vpn", "inference", "floating_ip", "nfs_server", "postgres"} <= {
        each.name for each in ROLES[0].iterdir() if imports(each.name)
    }


@pytest.mark.parametrize("file", [SITE, *SCENARIOS], ids=lambda file: str(file.relative_to(file.parents[1])))
def test_it_is_laid_before_a_program_wants_it(file: Path) -> None:
    assert without_library(file) == []


@pytest.mark.negative
def test_a_play_without_it_is_found(tmp_path: Path) -> None:
    play = {"hosts": "provisioned", "roles": [{"role": "postgres"}]}
    (tmp_path / "converge.yml").write_text(
        yaml.safe_dump([play, {"hosts": "provisioned", "roles": [{"role": "base"}]}])
    )
    assert without_library(tmp_path / "converge.yml") == ["postgres"]


@pytest.mark.parametrize("name", ["vpn", "inference", "floating_ip", "nfs_server"])
def test_who_keeps_no_backups_does_not_depend_on_them(name: str) -> None:
    assert "backup" not in played(name)
