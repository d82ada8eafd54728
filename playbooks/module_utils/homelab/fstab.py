"""The block of lines in /etc/fstab that is ours, beside the lines that are not.

Pure: text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ansible.module_utils.homelab.nas_entries import PORTS, NasError, server_of, unescaped

BEGIN = "# BEGIN homelab-provision nas_mounts: written by the role, changed only there"
END = "# END homelab-provision nas_mounts"
MARK = re.compile(r"# (BEGIN|END) homelab-provision nas_mounts\b.*")


class Table(NamedTuple):
    """The lines before our block, in it, and behind it; each without its line break."""

    before: list[str]
    own: list[str]
    after: list[str]


def split(text: str) -> Table:
    """Take fstab apart. Raises `NasError` when the marks of the block are not one pair."""
    lines = text.splitlines()
    marks = [(match[1], number) for number, line in enumerate(lines) if (match := MARK.fullmatch(line))]
    if not marks:
        return Table(lines, [], [])
    if [word for word, _ in marks] != ["BEGIN", "END"]:
        told = ", ".join(f"{word} in line {number + 1}" for word, number in marks)
        raise NasError(f"/etc/fstab: the marks of the block nas_mounts are not one pair ({told}); mend or remove them")
    (_, begin), (_, end) = marks
    return Table(lines[:begin], lines[begin + 1 : end], lines[end + 1 :])


def fields(line: str) -> list[str]:
    """The fields of a line, decoded; none for a comment and for what is no entry."""
    words = line.split()
    return [] if not words or words[0].startswith("#") or len(words) < 3 else [unescaped(word) for word in words]


def own_lines(table: Table) -> dict[str, str]:
    """Our lines by path."""
    return {words[1]: line for line in table.own if (words := fields(line))}


def servers(table: Table) -> dict[str, tuple[str, int]]:
    """The server and its port by path, for each of our lines."""
    entries = [fields(line) for line in own_lines(table).values()]
    return {path: (server_of(source, kind) or "", PORTS[kind]) for source, path, kind, *_ in entries if kind in PORTS}


def refuse_foreign(table: Table, paths: Iterable[str]) -> None:
    """Raise `NasError` when somebody else's line claims one of the paths."""
    wanted = set(paths)
    behind = len(table.before) + len(table.own) + 2
    numbered = [*enumerate(table.before, 1), *enumerate(table.after, behind + 1)]
    for number, line in numbered:
        words = fields(line)
        if words and (words[1].rstrip("/") or "/") in wanted:
            raise NasError(f"/etc/fstab, line {number}, already mounts {words[1]}: `{line.strip()}`. "
                           "Remove that line, or take the path from nas_mounts")  # fmt: skip


def with_lines(table: Table, lines: Iterable[str]) -> str:
    """The text with these lines as our block, at its old place or at the end; without lines, without a block."""
    own = list(lines)
    block = [BEGIN, *own, END] if own else []
    return "".join(f"{line}\n" for line in [*table.before, *block, *table.after])


def complaints(judged: str) -> set[tuple[str, str]]:
    """The errors in what `findmnt --verify` says: the path (empty outside of entries) and the text."""
    found, path = set(), ""
    for line in judged.splitlines():
        if error := re.fullmatch(r"\s+\[E\] (.*)", line):
            found.add((path, error[1]))
        elif "parse error" in line and not re.match(r"\d+ parse errors", line):
            found.add(("", re.sub(r"^.*?: (?=parse error)", "", line)))
        elif line.startswith("/") or line == "none":
            path = line
    return found
