"""Text from outside: nothing of it reaches a terminal as control, and no text costs more than its length."""

from __future__ import annotations

import time
import unicodedata

import pytest

from homelab_provision.errors import ProvisionError
from homelab_provision.text import LONGEST_LINE, MOST_LINES, clipped, one_line, printable

CLIPBOARD = "\x1b]52;c;cm0gLXJmIC8=\x07"


def test_terminal_control_is_removed() -> None:
    said = "\x1b]0;title\x07a\x1b[1;31mb\x1b[0m\rc\x08\td\x1b(Be\u202e\x9bf\n"
    assert printable(said) == "ab\nc\tdef\n"


@pytest.mark.negative
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"SAM{CLIPBOARD}SUNG", "SAMSUNG"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[2J\x1b[Hroot@host:~#", "root@host:~#"),
        ("\x1bPq#0;2\x1b\\x", "x"),
        ("\x1b]0;never ended, but not hidden", "0;never ended, but not hidden"),
        ("\x1b]0;line\nnext", "0;line\nnext"),
        ("disk\u202egnp.exe\u2066x\u2069", "diskgnp.exex"),
        ("zero\u200bwidth\u200d\ufeff\u2060\u00ad", "zerowidth"),
        ("a\u034f\u3164\ufe0f\U000e0101\U000e0041b", "ab"),
        ("half a character: \udce9", "half a character: \ufffd"),
        ("a\u2028b\u2029c\rd\r\ne", "a\nb\nc\nd\ne"),
        ("a\x00b\x07c\x7fd\x85e\x0bf\x0cg", "abcdefg"),
        ("[red]not ours[/red] :skull:", "[red]not ours[/red] :skull:"),
        ("Größe: 5 µs → 日本", "Größe: 5 µs → 日本"),
    ],
)
def test_what_a_terminal_would_obey_or_hide_is_gone(said: str, shown: str) -> None:
    assert printable(said) == shown
    assert "\n" not in one_line(said)
    assert one_line(said) == shown.replace("\n", " ")


def test_no_character_at_all_gets_through_as_control() -> None:
    everything = "".join(map(chr, range(0x110000)))
    left = {char for char in printable(everything) if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert left == {"\n", "\t"}


@pytest.mark.negative
@pytest.mark.parametrize(
    "piece", ["\x1b]", "\x1b[", "\x1b[0;", "\x1bP", "\x1b]0;\x1b", "\x1b ", "\x1b]0;a\n", "\u202e", "\x1b\x1b]\x07"]
)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()
    printable(text)
    assert time.process_time() - started < 5.0


def test_a_flood_is_clipped_and_says_so() -> None:
    assert clipped("x" * 10, 4) == "xxxx… (6 characters more)"
    error = ProvisionError("broken", evidence="\n".join(["first", *["y" * 10_000] * 1000]))
    assert error.evidence is not None
    assert len(error.evidence.splitlines()) == MOST_LINES
    assert len(error.evidence) < MOST_LINES * (LONGEST_LINE + 50)
