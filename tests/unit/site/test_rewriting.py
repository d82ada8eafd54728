"""Who plays whom, rewritten in the text of a machines.yml: nothing else may change."""

from __future__ import annotations

import difflib

import pytest
from ruamel.yaml import YAML

from homelab_provision.site.rewriting import rewrite

PASSPORT = "passport: {serial: X}"


def changed(before: str, host: str = "db", machine: str = "b") -> list[str]:
    """The lines that a rewrite takes out (-) and puts in (+)."""
    after = rewrite(before, host, machine)
    delta = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    return [line for line in delta if line[0] in "+-"]


def test_comments_order_and_odd_formatting_stay() -> None:
    before = """\
# yaml-language-server: $schema=x
---
machines:   # all of them

    a:
      # bought in 2021
      "model" :   'wyse5070'      # eleven boards
      plays:  db   # since March
      passport: { serial : "X" ,macs: [ a,b ] }


    b:     # the spare
          # still in its box
          model: wyse5070   # same
          passport: &p
              serial:    X

    c: {model: x, passport: {serial: X}}   # other
# the end
"""
    assert changed(before) == [
        "-       plays:  db   # since March\n",
        "+       distrusted_as: [db]   # since March\n",
        "+           plays: db\n",
    ]
    expected = "          model: wyse5070   # same\n          plays: db\n          passport: &p\n"
    assert expected in rewrite(before, "db", "b")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # nothing to do
        ("a:\n    plays: x\n  b:\n    plays: db\n", "a:\n    plays: x\n  b:\n    plays: db\n"),
        # no `model`: as the first key; comments stay with what they stand above
        ("b:\n    # its papers\n    p: 1\n", "b:\n    plays: db\n    # its papers\n    p: 1\n"),
        # a key without a value
        ("b:\n    plays:\n    p: 1\n", "b:\n    plays: db\n    p: 1\n"),
        ("b:\n    plays:   # nothing yet\n    p: 1\n", "b:\n    plays: db   # nothing yet\n    p: 1\n"),
        ("b:\n    plays: ~\n    p: 1\n", "b:\n    plays: db\n    p: 1\n"),
        ("b:\n    plays: null  # none\n    p: 1\n", "b:\n    plays: db  # none\n    p: 1\n"),
        ("b:\n    p: 1\n    plays:", "b:\n    p: 1\n    plays: db"),
        # it plays something else
        ("b:\n    plays: 'web'  # x\n    p: 1\n", "b:\n    plays: db  # x\n    p: 1\n"),
        # flow style
        ("b: {p: 1}\n", "b: {plays: db, p: 1}\n"),
        ("b: { p: 1, plays: web }\n", "b: { p: 1, plays: db }\n"),
        ("a: {plays: db, p: 1}\n  b: {p: 1}\n", "a: {distrusted_as: [db], p: 1}\n  b: {plays: db, p: 1}\n"),
        (
            "a: {plays: db, distrusted_as: [web]}\n  b: {p: 1}\n",
            "a: {distrusted_as: [web, db]}\n  b: {plays: db, p: 1}\n",
        ),
        (
            "a: {p: 1, plays: db, distrusted_as: []}\n  b: {p: 1}\n",
            "a: {p: 1, distrusted_as: [db]}\n  b: {plays: db, p: 1}\n",
        ),
        # the old player was distrusted before
        (
            "a:\n    plays: db\n    distrusted_as: [web]  # old\n  b: {p: 1}\n",
            "a:\n    distrusted_as: [web, db]  # old\n  b: {plays: db, p: 1}\n",
        ),
        (
            "a:\n    plays: db  # since March\n    distrusted_as: [web]\n  b: {p: 1}\n",
            "a:\n    # since March\n    distrusted_as: [web, db]\n  b: {plays: db, p: 1}\n",
        ),
        (
            "a:\n    distrusted_as:\n      - web  # old\n    plays: db\n  b: {p: 1}\n",
            "a:\n    distrusted_as:\n      - web  # old\n      - db\n  b: {plays: db, p: 1}\n",
        ),
        (
            "a:\n    distrusted_as:\n    - web\n    plays: db\n  b: {p: 1}\n",
            "a:\n    distrusted_as:\n    - web\n    - db\n  b: {plays: db, p: 1}\n",
        ),
        (
            "a:\n    plays: db\n    distrusted_as:\n    p: 1\n  b: {p: 1}\n",
            "a:\n    distrusted_as: [db]\n    p: 1\n  b: {plays: db, p: 1}\n",
        ),
        (
            "a:\n    plays: db\n    distrusted_as: [db]\n  b: {p: 1}\n",
            "a:\n    distrusted_as: [db]\n  b: {plays: db, p: 1}\n",
        ),
        # the new player is trusted again
        ("b:\n    distrusted_as: [db]  # once\n    p: 1\n", "b:\n    plays: db  # once\n    p: 1\n"),
        (
            "b:\n    model: x\n    distrusted_as: [web, db, nas]\n",
            "b:\n    model: x\n    plays: db\n    distrusted_as: [web, nas]\n",
        ),
        (
            "b:\n    model: x\n    distrusted_as: [db, web]\n",
            "b:\n    model: x\n    plays: db\n    distrusted_as: [web]\n",
        ),
        (
            "b:\n    model: x\n    distrusted_as:\n      - db  # once\n      - web\n",
            "b:\n    model: x\n    plays: db\n    distrusted_as:\n      # once\n      - web\n",
        ),
        (
            "b:\n    model: x\n    distrusted_as:\n      - web\n      - db\n    p: 1\n",
            "b:\n    model: x\n    plays: db\n    distrusted_as:\n      - web\n    p: 1\n",
        ),
        (
            "b:\n    model: x\n    distrusted_as:\n      - db\n    p: 1\n",
            "b:\n    model: x\n    plays: db\n    distrusted_as: []\n    p: 1\n",
        ),
    ],
)
def test_rewriting(before: str, after: str) -> None:
    assert rewrite(f"machines:\n  {before}", "db", "b") == f"machines:\n  {after}"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_stay(newline: str) -> None:
    before = "machines:\n  a:\n    plays: db\n    p: 1\n  b:\n    p: 1\n".replace("\n", newline)
    after = "machines:\n  a:\n    distrusted_as: [db]\n    p: 1\n  b:\n    plays: db\n    p: 1\n".replace("\n", newline)
    assert rewrite(before, "db", "b") == after


def test_there_and_back_again() -> None:
    """a → b → a: the file says again what it said, and nothing was lost on the way."""
    before = "machines:\n  a:\n    # one\n    plays: db  # two\n    p: 1\n  b:  # three\n    model: x\n    p: 1\n"
    there = rewrite(before, "db", "b")
    back = rewrite(there, "db", "a")
    assert back == before.replace("    model: x\n", "    model: x\n    distrusted_as: [db]\n")
    assert rewrite(back, "db", "b") == there


def test_what_comes_from_an_alias_is_left_alone() -> None:
    before = "x: &x {plays: db, p: 1}\nmachines:\n  a: *x\n  b: {p: 1}\n"
    assert rewrite(before, "db", "b") == before.replace("b: {", "b: {plays: db, ")


def test_a_value_that_comes_from_an_alias_is_left_alone() -> None:
    before = "x: &h db\ny: &l [db]\nmachines:\n  a: {plays: *h, p: 1}\n  b: {distrusted_as: *l, p: 1}\n"
    assert rewrite(before, "db", "b") == before.replace("b: {", "b: {plays: db, ")


def test_the_rest_of_the_file_means_the_same() -> None:
    before = "machines:\n  a: {plays: db, p: [1, {q: 2}]}\n  b:\n    p:\n      - q: |\n          plays: db\n      - r\n"
    read = YAML(typ="safe", pure=True).load(rewrite(before, "db", "b"))
    assert read["machines"]["a"] == {"distrusted_as": ["db"], "p": [1, {"q": 2}]}
    assert read["machines"]["b"] == {"plays": "db", "p": [{"q": "plays: db\n"}, "r"]}
