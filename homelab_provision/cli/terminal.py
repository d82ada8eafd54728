"""The terminal as the command knows it: what is shown goes to standard error and is clean, and a person is asked.

Whatever colour says, a word or a mark says too. Only this module and those that build on it (`plain`, `live`, `many`,
`render`) import rich.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Self, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from homelab_provision.errors import Refused, UsageError
from homelab_provision.events import Event, Outcome
from homelab_provision.report.wording import MARKS
from homelab_provision.text import clipped, one_line, printable

LONG_TEXTS = ("text", "error", "evidence", "hint", "message")  # of events; every other text is a name
LONGEST_TEXT = 200_000  # characters
SIZES = ("COLUMNS", "LINES")
BAD = (Outcome.FAILED, Outcome.UNREACHABLE)


class CleanConsole(Console):
    """What reaches the terminal: no text, wherever it comes from, carries control of its own past this place."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def console_of(stream: TextIO | None, environ: Mapping[str, str]) -> Console:
    return CleanConsole(
        file=stream or sys.stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        no_color="NO_COLOR" in environ or None,
        _environ={name: value for name, value in environ.items() if name not in SIZES or _is_size(value)},
    )


def _is_size(text: str) -> bool:
    """Whether a terminal may have so many columns or lines: 0 is what a serial console says that knows no better."""
    return text.isascii() and text.isdigit() and 8 <= int(text[:5]) <= 2000


def say(console: Console, line: RenderableType) -> None:
    """One line; long ones wrap in the terminal, not here, so that paths and digests can be copied whole."""
    console.print(line, soft_wrap=True)


def cleaned(event: Event) -> Event:
    """The event with texts that stay in their row and column; names are one line."""
    texts = {
        name: clipped(printable(text), LONGEST_TEXT) if name in LONG_TEXTS else clipped(one_line(text))
        for name, text in event
        if isinstance(text, str) and not isinstance(text, StrEnum)
    }
    return event.model_copy(update=texts)


class Renderer:
    """Shows the events of a run. Used as a context manager; events may come from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.RLock()
        self._ascii = not (console.encoding or "").lower().startswith("utf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the display; whatever is unfinished stays as it was last seen."""

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._show(cleaned(event))

    def _show(self, event: Event) -> None:
        raise NotImplementedError

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Leave the terminal to somebody else: a prompt, a shell on the machine."""
        yield

    def confirm(self, question: str, expected: str) -> None:
        """Ask the user to type `expected`. Anything else is a refusal."""
        answer = self._ask(f"{question} ")
        if not answer or answer != expected:
            raise Refused(f"not confirmed: wanted `{expected}`, got `{answer}`", hint="nothing has been changed")

    def ask(self, question: str) -> str:
        """Ask the user for a word."""
        return self._ask(f"{question} ")

    def choose(self, question: str, options: Sequence[str]) -> str:
        """Ask the user to type one of `options`, by its number or name."""
        listed = "".join(f"\n  {number}. {option}" for number, option in enumerate(options, 1))
        answer = self._ask(f"{question}{listed}\n> ")
        numbered = {str(number): option for number, option in enumerate(options, 1)}
        if (choice := numbered.get(answer, answer)) not in options:
            raise Refused(f"no such choice: `{answer}`", hint="nothing has been changed")
        return choice

    def _ask(self, prompt: str) -> str:
        if not (self._console.is_terminal and sys.stdin.isatty()):
            raise UsageError(
                f"there is no terminal to ask on: {prompt.strip()}",
                hint="run it in a terminal, or answer beforehand with options and `--yes`",
            )
        with self._listening():
            self._console.print(Text(printable(prompt), style="bold"), end="", soft_wrap=True)
            return self._typed().strip()

    def _typed(self) -> str:
        return sys.stdin.readline()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        with self._lock, self.suspended():
            yield

    def _mark(self, outcome: Outcome) -> str:
        return outcome.value if self._ascii else MARKS[outcome]


def because(reason: str | None) -> str:
    first = first_line(reason or "")
    return f": {first}" if first else ""


def first_line(text: str) -> str:
    return clipped(next(iter(text.strip().splitlines()), ""))
