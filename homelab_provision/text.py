"""Text that others wrote, made fit for a terminal, a log and a page; words that were meant.

A disk's model, a USB stick's serial, a playbook's message, a machine's console: anybody may have written them. What
a terminal would obey (escape sequences, control characters), what turns the reading direction around, and what
cannot be seen at all is taken out at the place where text is written; see docs/decisions/0017.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

LONGEST_LINE = 2000  # characters of one line of evidence
MOST_LINES = 200
# What a control sequence may look like; every part is possessive, so that hostile text costs no more than its length.
_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*+[ -/]*+[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_](?:[^\x07\x1b\n]*+(?:\x07|\x1b\\))?"  # OSC, DCS, …: titles, links, the clipboard; its end may lack
    r"|\x1b[ -/]*+[0-~]"  # the two- and three-byte rest
)
_ENDS_OF_LINE = re.compile("\r\n|[\r\u2028\u2029]")
# Letters and marks by their category, but nothing is to be seen of them: fillers, joiners, variation selectors.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` without terminal control, changes of direction and invisible characters; lines and tabs stay.

    Takes time in proportion to the length of the text, whatever is in it.
    """
    if text.isascii() and text.isprintable():
        return text
    plain = _ENDS_OF_LINE.sub("\n", _SEQUENCES.sub("", text))
    plain = _SURROGATES.sub("\ufffd", _INVISIBLE.sub("", plain))
    return "".join(char for char in plain if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf"))


def one_line(text: str) -> str:
    """`text` as a name or a table's cell: printable, with blanks where it had line ends and tabs."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def clipped(text: str, most: int = LONGEST_LINE) -> str:
    """At most so many characters of `text`; says how many more there were."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters more)"


def last_lines(text: str, lines: int = MOST_LINES) -> str:
    """The last lines of an output, each at most `LONGEST_LINE` characters long."""
    return "\n".join(map(clipped, text.strip("\n").splitlines()[-lines:]))


def json_object(text: str) -> dict[str, Any] | None:
    """The object that a line of JSON holds; `None` for everything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """A suggestion for a word that is not among the known ones; `None` if none is near (`cutoff`: how near, to 1)."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return suggestion(close[0]) if close else None


def suggestion(word: str) -> str:
    return f"did you mean `{word}`?"
