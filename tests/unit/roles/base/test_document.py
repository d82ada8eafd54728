"""What a role writes for its program is taken as a whole or not at all, and what is wrong with it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.programs import library

document = library("document")
Trouble = library("errors").Trouble
HINT = "play the role"


def read(text: str) -> Any:
    told = document.Reader("", document.decoded(text))
    return [told.text("name"), told.number("port", 1, 9), told.flag("on", False), told.choice("kind", ("a", "b"), "a")]


def load(tmp_path: Path, text: str | bytes, parse: Any = read) -> Any:
    file = tmp_path / "role.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return document.load(file, parse, HINT)


def test_it_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, '{"name": "x", "port": 9, "newer": 1}') == ["x", 9, False, "a"]


@pytest.mark.negative
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"secret": "word', "it is damaged: no whole JSON document"),
        ("[" * 100_000, "it is damaged: no whole JSON document"),
        (b"\xff", "it is damaged: no text"),
        ("[]", "it: an object is expected"),
        ("{}", "name: a text is expected"),
        ('{"name": "x", "port": 10}', "port: a number from 1 to 9 is expected"),
        ('{"name": "x", "port": true}', "port: a number from 1 to 9 is expected"),
        ('{"name": "x", "port": 1, "on": 1}', "on: true or false is expected"),
        ('{"name": "x", "port": 1, "kind": "c"}', "kind: one of a, b (and not 'c') is expected"),
    ],
    ids=range(9),
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(Trouble) as refused:
        load(tmp_path, text)
    assert refused.value.message == f"{tmp_path}/role.json: {said}"
    assert refused.value.hint == HINT


@pytest.mark.negative
def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match=r"cannot read /.*role\.json: No such file or directory"):
        document.load(tmp_path / "role.json", read, HINT)


@pytest.mark.negative
def test_a_better_hint_stays(tmp_path: Path) -> None:
    def parse(text: str) -> Any:
        raise Trouble("no", "do that")

    with pytest.raises(Trouble) as refused:
        load(tmp_path, "", parse)
    assert refused.value.hint == "do that"


@pytest.mark.negative
def test_what_is_wrong_within_is_found(tmp_path: Path) -> None:
    told = document.Reader("", {"list": [{"name": "x"}, {"name": 5}], "inner": {"deep": []}})
    assert told.each("none", []) == []
    first, second = told.inners("list")
    assert first.text("name") == "x"
    with pytest.raises(Trouble, match=r"^list\[1\]\.name: a text is expected$"):
        second.text("name")
    with pytest.raises(Trouble, match=r"^inner\.deep: an object is expected$"):
        told.inner("inner").inner("deep")
    with pytest.raises(Trouble, match=r"^none: a list is expected$"):
        told.inners("none")
