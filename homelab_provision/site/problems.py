"""What is wrong with a site's description: every problem with its place, shown in the user's own YAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homelab_provision.errors import UsageError

_LINES_BEFORE = 2
_LINES_AFTER = 1


@dataclass(frozen=True)
class Problem:
    """One mistake: `file` relative to the site, `line` counted from 1 (0: the file as a whole)."""

    file: str
    line: int
    path: str
    message: str
    expected: str | None = None
    suggestion: str | None = None
    excerpt: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        text = [": ".join(part for part in (place, self.path, self.message) if part)]
        text += [f"    {line}" for line in self.excerpt.splitlines()]
        if self.expected:
            text.append(f"  expected {self.expected}")
        if self.suggestion:
            text.append(f"  {self.suggestion}")
        return "\n".join(text)


class SiteError(UsageError):
    """The description of a site is wrong. All problems are there at once; nothing has been started."""

    def __init__(self, site: str, problems: Sequence[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        self.problems = tuple(problems)
        super().__init__(f"the site {site} has {count}:\n\n" + "\n\n".join(map(str, self.problems)))


def excerpt(text: str, line: int, column: int, width: int) -> str:
    """The lines around `line` (from 1), with the bad part (from `column`, counted from 0) underlined."""
    lines = text.splitlines()
    first, last = max(1, line - _LINES_BEFORE), min(len(lines), line + _LINES_AFTER)
    digits = len(str(last))
    shown = []
    for number in range(first, last + 1):
        marker = ">" if number == line else " "
        shown.append(f"{marker} {number:>{digits}} | {lines[number - 1]}".rstrip())
        if number == line:
            underline = "^" * max(1, min(width, len(lines[number - 1]) - column))
            shown.append(f"  {'':>{digits}} | {' ' * column}{underline}")
    return "\n".join(shown)
