"""The report of a run: one HTML file that needs nothing else, to be read years later."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from typing import Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from homelab_provision.events import Event, RunResult
from homelab_provision.report.summary import UNFINISHED, last_tries, summarise
from homelab_provision.report.timeline import Phase, read_attempts
from homelab_provision.report.wording import MARKS, RESULT_MARKS, scalar_text, seconds_text
from homelab_provision.text import last_lines, printable

CONSOLE_LINES = 60
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
MOST_TICKS = 8

_SENTENCES = {
    RunResult.PROVEN: "{host} was rebuilt on {machine} and proven",
    RunResult.DONE: "what was asked of {host} on {machine} is done",
    RunResult.UNPROVEN: "{host} was rebuilt on {machine}, but it is not proven",
    RunResult.FAILED: "{host} could not be rebuilt on {machine}",
    RunResult.REFUSED: "{host} was not rebuilt: a safety rule refused",
    RunResult.DAMAGED: "what became of {host} on {machine} cannot be read",
}


class Tested(Protocol):
    """The result of one verify test; `outcome` is `passed`, `failed`, `skipped` or `error`."""

    @property
    def role(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True)
class RunDetails:
    """What is known of a run besides its events. Texts must be free of secrets; the report adds none and hides none.

    `plan` are labelled facts (disk, what is erased, backup); `consoles` maps a title to the last lines of a console.
    """

    run: str
    host: str
    machine: str
    site: str
    command: str = "rebuild"
    image_digest: str | None = None
    plan: Mapping[str, object] = field(default_factory=dict)
    tests: Sequence[Tested] = ()
    consoles: Mapping[str, str] = field(default_factory=dict)
    evidence: str | None = None
    hint: str | None = None


def render_report(details: RunDetails, events: Sequence[Event]) -> str:
    """Render the run as a self-contained page: no script, no font, no image from elsewhere."""
    attempts = read_attempts(events)
    summary = summarise(details.run, details.host, details.machine, details.site, events)
    environment = Environment(
        loader=PackageLoader("homelab_provision.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {
        "seconds": seconds_text,
        "scalar": scalar_text,
        "moment": _moment,
        "label": _label,
        "prose": _prose,
        "roomy": _roomy,
    }
    return environment.get_template("report.html.j2").render(
        details=details,
        summary=summary,
        sentence=_sentence(details, summary.result, summary.note),
        attempts=attempts,
        tries=last_tries(attempts),
        total=max(summary.seconds, 0.001),
        ticks=tick_marks(summary.seconds),
        longest=_longest(last_tries(attempts)),
        tests=_sorted_tests(details.tests),
        counts=Counter(map(_outcome, details.tests)),
        consoles={
            title: last_lines(printable(text).rstrip(), CONSOLE_LINES) for title, text in details.consoles.items()
        },
        ended=attempts[-1].at + timedelta(seconds=attempts[-1].seconds) if attempts else None,
        marks={outcome.value: mark for outcome, mark in MARKS.items()} | {"passed": "✓", "failed": "✗", "skipped": "○"},
        result_mark=RESULT_MARKS[summary.result],
        test_outcome=_outcome,
    )


def _finalize(value: object) -> object:
    """Every text that the page shows goes through here; markup is what our own filters made of such a text."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def tick_marks(total: float) -> list[int]:
    """The seconds at which the time axis is marked: few enough to read, round enough to like."""
    days = TICKS[-1] * math.ceil(total / TICKS[-1] / MOST_TICKS)
    step = next((tick for tick in TICKS if total / tick <= MOST_TICKS), days)
    return [mark for mark in range(0, int(total) + 1, step) if mark <= 0.95 * total]  # its label has to fit, too


def _sentence(details: RunDetails, result: RunResult, note: str | None) -> str:
    if note == UNFINISHED:
        return f"The {details.command} of {details.host} did not come to its end"
    if details.command != "rebuild":
        return f"{details.command} on {details.host}: {result}"
    return _SENTENCES[result].format(host=details.host, machine=details.machine)


def _longest(phases: Sequence[Phase]) -> list[Phase]:
    """Where the time went: the phases that took a tenth of it or more, longest first (three at most)."""
    whole = sum(phase.seconds for phase in phases)
    ranked = sorted(phases, key=lambda phase: -phase.seconds)
    return [phase for phase in ranked[:3] if whole and phase.seconds >= whole / 10]


def _outcome(test: Tested) -> str:
    return "failed" if test.outcome in ("failed", "error") else str(test.outcome)


def _sorted_tests(tests: Sequence[Tested]) -> list[Tested]:
    order = {"failed": 0, "passed": 1, "skipped": 2}
    return sorted(tests, key=lambda test: order.get(_outcome(test), 0))


def _moment(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _prose(text: str) -> Markup:
    """A message, with what stands in backticks set as code."""
    parts = printable(text).split("`")
    if len(parts) % 2 == 0:  # an odd backtick: take them all literally
        return escape(printable(text))
    return Markup().join(
        Markup("<code>{}</code>").format(part) if odd else escape(part)
        for part, odd in zip(parts, cycle((False, True)), strict=False)
    )


def _roomy(item: object) -> bool:
    """Whether a fact wants a line of its own."""
    return isinstance(item, Mapping) or len(scalar_text(item)) > 30


def _label(name: str) -> str:
    """`host_key` as a person writes it: `host key`."""
    return name.replace("_", " ")
