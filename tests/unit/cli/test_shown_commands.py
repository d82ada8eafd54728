"""Every command that is shown works: in README, docs, `--help`, and at the head of playbooks.

What only reads is run. What needs machines has to be understood: command, options and arguments as click takes them,
playbooks and hosts as they are there.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from homelab_provision import paths
from homelab_provision.cli import cli
from homelab_provision.errors import UsageError
from homelab_provision.jobs import playbook_files
from homelab_provision.site.loading import load_site

ROOT = Path(__file__).parents[3]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
# `provision` as a word of a command line: at its beginning, behind a prompt, `&&`, an assignment or a backtick.
SHOWN = re.compile(
    r"(?:^|[$`]\s*|&& |; |\bPROVISION_SITE=\S+ (?:\.venv/bin/)?)provision ((?:[^`\n#;&|>]|&(?!&))+)", re.M
)
# What stands for something else in prose.
PLACEHOLDERS = {
    "HOST": "db-wyse",
    "MACHINE": "wyse-b",
    "SERIAL": "S1",
    "RUN": "latest",
    "CODE": "BCDF-GHJK",
    "TIME": "2026-11-23",
    "NAME": "spans",
    "PLAYBOOK": "free-space.yml",
    "DIR": ".",
    "FILE": "x",
    "PHASE": "verify",
    "/dev/sdX": "/dev/sdx",
}
READ_ONLY = {("config", "show"), ("config", "schema"), ("machines", "list"), ("runs", "list"), ("image", "list")}


def in_backticks_or_blocks(text: str) -> Iterator[str]:
    """The command lines of a page; sentences that only mention the command's name are none."""
    for match in SHOWN.finditer(text):
        words = match[1].strip().rstrip("\\").strip()
        if words and not words.startswith(("with", "as ", "is ", "and ")):
            yield re.split(r"\s{2,}", words)[0]  # what stands behind a gap explains


def helps(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The help text of every command there is."""
    yield " ".join(path), command.help or ""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below
            yield from helps(below, (*path, name))


def shown() -> list[tuple[str, str]]:
    found = [(page, line) for page in PAGES for line in in_backticks_or_blocks((ROOT / page).read_text())]
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        head = "\n".join(line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
        found += [(path.name, line) for line in in_backticks_or_blocks(head)]
    for name, text in helps(cli):
        lines = "\n".join(line.strip() for line in text.splitlines())
        found += [(f"--help of {name or 'provision'}", line) for line in in_backticks_or_blocks(lines)]
    return sorted(set(found))


COMMANDS = shown()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = tmp_path / "site"
    shutil.copytree(paths.content("inventories") / "lab", site, ignore=shutil.ignore_patterns(".vault*", "vault"))
    monkeypatch.setenv("PROVISION_SITE", str(site))
    monkeypatch.chdir(site)
    return site


@pytest.fixture(scope="module")
def hosts_that_are_there() -> set[str]:
    return {host for name in ("lab", "example") for host in load_site(paths.content("inventories") / name).hosts}


def words_of(line: str) -> list[str]:
    line = re.sub(r"\[(--[^]]*)\]", r"\1", line)  # optional parts
    words = shlex.split(line)
    return [PLACEHOLDERS.get(word, word) for word in words if word not in ("…", "...")]


def understood(words: list[str]) -> tuple[tuple[str, ...], dict[str, object]]:
    """The path and the parameters of a command line, as click understands it. Raises what click raises."""
    command: click.Command = cli
    context = click.Context(cli, info_name="provision")
    path: tuple[str, ...] = ()
    while isinstance(command, click.Group):
        if not words:
            return path, {}
        name, *words = words
        below = command.get_command(context, name)
        if below is None:
            raise UsageError(f"there is no command {' '.join((*path, name))}")
        command, path = below, (*path, name)
        context = click.Context(command, parent=context, info_name=name)
    if words:  # without any, the command is only spoken of
        command.parse_args(context, list(words))
    return path, context.params


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 40
    assert {"README.md", "slow-queries.yml", "--help of rebuild"} <= {where for where, _ in COMMANDS}


@pytest.mark.processes
@pytest.mark.parametrize(("where", "line"), COMMANDS, ids=[f"{where}: {line}" for where, line in COMMANDS])
def test_a_command_that_is_shown_is_understood(
    site: Path, hosts_that_are_there: set[str], where: str, line: str
) -> None:
    words = words_of(line)
    if words and words[-1] in ("--help", "-h"):
        assert CliRunner().invoke(cli, words).exit_code == 0
        return
    try:
        path, given = understood(words)
    except click.exceptions.Exit:
        return
    if playbook := given.get("playbook"):
        assert playbook_files.find(str(playbook), site)
    hosts = given.get("hosts") or ([given["host"]] if given.get("host") else [])
    assert isinstance(hosts, list | tuple)
    assert {str(host) for host in hosts} <= hosts_that_are_there
    if path[:2] in READ_ONLY:
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
