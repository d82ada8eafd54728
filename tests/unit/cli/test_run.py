"""`provision run`: which playbooks there are, what is passed on, and what comes back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from homelab_provision import paths
from homelab_provision.cli import cli
from homelab_provision.errors import UsageError
from homelab_provision.jobs import playbook_files

OWN = paths.content("playbooks")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The example, with a playbook of its own."""
    site = tmp_path / "site"
    shutil.copytree(paths.content("inventories") / "example", site, ignore=shutil.ignore_patterns(".vault*", "vault"))
    (site / "playbooks").mkdir()
    (site / "playbooks" / "mine.yml").write_text("---\n# Mend what only I have.\n- hosts: all\n")
    (site / "playbooks" / "free-space.yml").write_text("- name: My own way\n  hosts: all\n")
    return site


@pytest.mark.parametrize("word", ["slow-queries.yml", "slow-queries"])
def test_our_own_playbooks_are_found_from_anywhere(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert playbook_files.find(word, site) == (OWN / "slow-queries.yml").resolve()


def test_a_path_comes_first_then_the_site_then_ours(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert playbook_files.find("free-space", site) == site / "playbooks" / "free-space.yml"
    assert playbook_files.find(str(OWN / "free-space.yml"), site) == (OWN / "free-space.yml").resolve()


@pytest.mark.negative
def test_a_name_that_is_none_is_answered_with_what_there_is(site: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean `slow-queries\.yml`") as refused:
        playbook_files.find("slow-querys.yml", site)
    assert "mine.yml" in (refused.value.hint or "")


def test_every_playbook_says_what_it_is_for(site: Path) -> None:
    shown = CliRunner().invoke(cli, ["run", "--list", "--site", str(site)])
    assert shown.exit_code == 0
    rows = shown.stdout.splitlines()
    assert any(row.startswith("mine.yml") and row.endswith("Mend what only I have.") for row in rows)
    assert any(row.startswith("free-space.yml") and row.endswith("My own way") for row in rows)
    listed = json.loads(CliRunner().invoke(cli, ["run", "--list", "--json", "--site", str(site)]).stdout)
    assert all(one["purpose"] for one in listed)
    assert {path.name for path in OWN.glob("*.yml")} <= {one["name"] for one in listed if one["own"]}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["a=1"], {"a": "1"}),
        (["a=1 b='two words'", "a=3"], {"a": "3", "b": "two words"}),
        (['{"a": [1, 2], "b": null}'], {"a": [1, 2], "b": None}),
        (["{a: {b: true}}"], {"a": {"b": True}}),
        (["@FILE"], {"secret_word": "from a file"}),
    ],
)
def test_variables_come_as_ansible_takes_them(tmp_path: Path, words: list[str], found: dict[str, Any]) -> None:
    file = tmp_path / "variables.yml"
    file.write_text("secret_word: from a file\n")
    assert playbook_files.variables([word.replace("FILE", str(file)) for word in words]) == found


@pytest.mark.negative
@pytest.mark.parametrize(
    "word",
    ["hunter2", "a='hunter2", "=hunter2", "{hunter2", "[hunter2]", "@/nowhere", "@FILE", "@FIFO", "{1: hunter2}"],
)
def test_what_is_no_variable_is_refused_without_showing_it(tmp_path: Path, word: str) -> None:
    import os

    (tmp_path / "FILE").write_text("a: [hunter2\n")
    os.mkfifo(tmp_path / "FIFO")
    with pytest.raises(UsageError) as refused:
        playbook_files.variables([word.replace("@F", f"@{tmp_path}/F")])
    assert "hunter2" not in f"{refused.value.message} {refused.value.hint} {refused.value.evidence}"
