from __future__ import annotations

import pytest

from homelab_provision.report.wording import (
    bytes_text,
    place_of,
    quantity_text,
    scalar_text,
    seconds_text,
    step_parts,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 m 00 s"),
        (250, "4 m 10 s"),
        (3599.7, "1 h 00 m"),
        (7380, "2 h 03 m"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (640e6, "640 MB"), (999.6e6, "1.0 GB"), (1e15, "1000 TB")],
)
def test_sizes_are_decimal(count: float, text: str) -> None:
    assert bytes_text(count) == text


def test_quantities() -> None:
    assert quantity_text(120e6, 640e6, "bytes") == "120 MB of 640 MB"
    assert quantity_text(12, 180, "seconds") == "12 s, at most 3 m 00 s"
    assert quantity_text(7, None, "tasks") == "7 tasks"
    assert quantity_text(7, 43, "tests") == "7 of 43 tests"


def test_steps_lose_the_name_of_their_phase_once() -> None:
    assert step_parts("flash/stream/read back", "flash") == ("stream", "read back")
    assert step_parts("stream", "flash") == ("stream",)
    assert step_parts("flash", "flash") == ("flash",)
    assert step_parts("/", None) == ("/",)


def test_proofs_on_one_line() -> None:
    assert scalar_text({"a": [1, 2.50, None], "b": True, "c": []}) == "a: 1, 2.5, none, b: yes, c: none"


def test_a_step_is_called_by_what_its_parents_do_not_say() -> None:
    assert place_of(("a", "b", "c"), {("a",), ("a", "b", "c")}) == (1, "b: c")
    assert place_of(("a", "b"), {("a",), ("a", "b")}) == (1, "b")
    assert place_of(("a", "b"), set()) == (0, "a: b")
