"""A word that is empty is a shell variable that nobody has set. It never means "all of it"."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from homelab_provision.cli import cli


@pytest.mark.negative
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["restore", "db-wyse", "--database", ""], "`--database`"),
        (["restore", "db-wyse", "--database", "", "--yes"], "`--database`"),
        (["restore", "db-wyse", "--yes", "--database="], "`--database`"),
        (["restore", "db-wyse", "--to", " "], "`--to`"),
        (["rebuild", "db-wyse", "--onto", ""], "`--onto`"),
        (["rebuild", "db-wyse", "--erase", "S1", "--erase", ""], "`--erase`"),
        (["rebuild", "", "--yes"], "an argument is empty"),
        (["run", "playbooks/free-space.yml", "--limit", ""], "`--limit`"),
        (["apply", "db-wyse", ""], "an argument is empty"),
        (["apply", "", "--check"], "an argument is empty"),
        (["config", "show", "--site", ""], "`--site`"),
        (["config", "show", "--site="], "`--site`"),
        (["usb", "write", ""], "an argument is empty"),
        (["runs", "show", ""], "an argument is empty"),
        (["image", "build", "", "--anew"], "an argument is empty"),
    ],
)
def test_an_empty_word_is_refused(words: list[str], named: str) -> None:
    shown = CliRunner().invoke(cli, words)
    assert shown.exit_code == 2
    assert named in shown.output
    assert "is a variable of your shell not set?" in shown.output


def test_what_another_program_gets_is_its_own_affair() -> None:
    shown = CliRunner().invoke(cli, ["lab", "ssh", "--help", "--", "echo", ""])
    assert shown.exit_code == 0
