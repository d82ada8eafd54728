"""What one program is told in its environment is told no other; a disk that is full is known in whatever words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.roles.programs import library

process, disk_space = library("process"), library("disk_space")
Trouble = library("errors").Trouble


@pytest.mark.processes
@pytest.mark.skipif(os.geteuid() != 0, reason="it becomes others, as root does")
def test_a_secret_is_for_one_program() -> None:
    ask = ["sh", "-c", "echo $SECRET $TZ"]
    assert process.run(ask, patience=20, environment={"SECRET": "word"}).out == "word UTC\n"
    assert process.run(ask, patience=20).out == "UTC\n"


@pytest.mark.parametrize("words", ["tar: No space left on device", "write /x: no space left on device"])
def test_a_full_disk_is_known_by_its_words(tmp_path: Path, words: str) -> None:
    with pytest.raises(disk_space.Full, match="has become full"), disk_space.explained(tmp_path):
        raise Trouble("it failed", None, words)
    with pytest.raises(Trouble, match="it failed"), disk_space.explained(tmp_path):
        raise Trouble("it failed", None, "something else")
