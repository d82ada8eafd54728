"""YAML that remembers where things stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.site.document import at, parse_document, plain, read_document


def test_scalars_stay_the_text_that_was_written() -> None:
    document = parse_document("x.yml", "a: 0012\nb: 52:54:00:50:70:10\nc: yes\nd: ~\ne:\nf: '~'\ng: 1e5\n")
    assert plain(document.root) == {"a": "0012", "b": "52:54:00:50:70:10", "c": "yes", "f": "~", "g": "1e5"}


def test_merges_are_applied_and_own_keys_win() -> None:
    document = parse_document("x.yml", "a: &a {x: 1, y: 2}\nb: &b {z: 3, x: 9}\nc:\n  <<: [*a, *b]\n  y: own\n")
    assert plain(at(document.root, ("c",))) == {"x": "1", "z": "3", "y": "own"}
    assert document.place(("c", "x"), at_value=True).line == 1


@pytest.mark.parametrize(
    ("path", "at_value", "line", "column", "width"),
    [
        (("a",), False, 2, 0, 1),
        (("a", "b", 1), True, 4, 6, 3),
        (("a", "b", 1, "no", "such"), False, 4, 6, 3),
        (("a", "missing"), False, 2, 0, 1),
        (("c",), True, 6, 3, 8),
        ((), False, 2, 0, 2),
    ],
)
def test_places(path: tuple[str | int, ...], at_value: bool, line: int, column: int, width: int) -> None:
    document = parse_document("x.yml", "# comment\na:\n  b: [one,\n      two]  # comment\n    # more\nc: 'quoted'\n")
    place = document.place(path, at_value=at_value)
    assert (place.line, place.column, place.width) == (line, column, width)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1\nb: 2\n", 2, "while parsing a flow sequence that began in line 1"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: 1\n b: 2\n", 2, "not YAML"),
        ("a: 'x\n\n\n", 3, "not YAML"),
        ("a: *nowhere\n", 1, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
    ],
)
def test_what_is_not_yaml_is_shown_with_its_line(text: str, line: int, words: str) -> None:
    (problem,) = parse_document("x.yml", text).problems
    assert (problem.file, problem.line) == ("x.yml", line)
    assert words in problem.message


def test_an_alias_that_contains_itself() -> None:
    document = parse_document("x.yml", "a: &a\n  b: [*a]\n")
    assert [problem.message for problem in document.problems] == [
        "an alias (`*name`) inside of what it stands for, or aliases of aliases without end"
    ]
    assert parse_document("x.yml", "a: &a {b: 1}\nc: [*a, *a]\n").problems == []


def test_control_characters_are_not_yaml() -> None:
    (problem,) = parse_document("x.yml", "a: \x01\n").problems
    assert "not YAML" in problem.message


def test_a_key_that_is_there_twice() -> None:
    document = parse_document("x.yml", "a:\n  b: 1\n  c: 2\n  b: 3\n")
    (problem,) = document.problems
    assert (problem.line, problem.path, problem.message) == (4, "a.b", "key is there twice")
    assert problem.expected == "each key once; the first one is in line 2"
    assert plain(document.root) == {"a": {"b": "1", "c": "2"}}, "the first one counts, as for `place`"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yml").write_bytes(b"a: \xe4\n")
    assert "no such file" in read_document(tmp_path, "none.yml").problems[0].message
    assert "cannot be read" in read_document(tmp_path, "latin.yml").problems[0].message
