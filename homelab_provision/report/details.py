"""What the report tells beyond the events: the machine, the plan, test results, consoles."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Tested(Protocol):
    """The result of one verify test; `outcome` is `passed`, `failed`, `skipped` or `error`."""

    @property
    def name(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True)
class ReportedTest:
    """A test result as read from a file."""

    name: str
    outcome: str
    seconds: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class RunDetails:
    """What is known of a run besides its events. Texts must be free of secrets; the report adds none and hides none.

    `plan` are labelled facts (disk, what is erased, backup); `consoles` and `files` map a title to the last
    lines of a console, and to a path relative to the report.
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
    files: Mapping[str, str] = field(default_factory=dict)


def parse_junit(text: str) -> tuple[ReportedTest, ...]:
    """Read the results that `pytest --junitxml` wrote; our own file, as XML from strangers is not safe to parse.

    Raises `ElementTree.ParseError` (a `SyntaxError`) if it is torn, `ValueError` for a time that is no number.
    """
    return tuple(_case(case) for case in ElementTree.fromstring(text).iter("testcase"))


def _case(case: ElementTree.Element) -> ReportedTest:
    group, name = case.get("classname", ""), case.get("name", "")
    outcome, said = "passed", ""
    for kind, meaning in (("skipped", "skipped"), ("failure", "failed"), ("error", "error")):
        if (part := case.find(kind)) is not None:
            outcome, said = meaning, part.get("message") or part.text or ""
            if kind != "skipped":
                said = part.text or said
    full = f"{group}.{name}" if group else name
    return ReportedTest(full, outcome, float(case.get("time") or 0), said.strip())
