"""Checks, their findings, and how they are all made at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

from homelab_provision.errors import ProvisionError

DEADLINE = 2.5


class Verdict(StrEnum):
    """`warn`: something will not work, or not as well; `fail`: a rebuild cannot work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Answer:
    """What a check says: the verdict, what was found, and a command (or a line) that repairs it; `package` is the
    Debian package whose installation does."""

    verdict: Verdict
    found: str
    repair: str | None = None
    package: str | None = None


@dataclass(frozen=True)
class Check:
    """Something to look at; `look` may raise `ProvisionError` or `OSError`, which is a failure."""

    group: str
    name: str
    look: Callable[[], Answer]
    deadline: float = DEADLINE


@dataclass(frozen=True, kw_only=True)
class Finding(Answer):
    """The answer of one check."""

    group: str
    name: str


def examine(checks: Sequence[Check]) -> tuple[Finding, ...]:
    """Make all checks at once and return their findings in the order of the checks.

    A check that does not answer before its deadline is a warning; its thread is left behind.
    """
    started = monotonic()
    asked = [_Asked(check) for check in checks]
    return tuple(one.finding(started) for one in asked)


class _Asked:
    """A check in a thread of its own. Not a pool: a pool would wait for stragglers when Python ends."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._answer: Answer | None = None
        self._bug: Exception | None = None
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        try:
            self._answer = self._check.look()
        except ProvisionError as error:
            self._answer = Answer(Verdict.FAIL, error.message, error.hint)
        except OSError as error:
            self._answer = Answer(Verdict.FAIL, str(error))
        except Exception as bug:
            self._bug = bug

    def finding(self, started: float) -> Finding:
        self._thread.join(max(started + self._check.deadline - monotonic(), 0.0))
        if self._bug:
            raise self._bug
        answer = self._answer or Answer(Verdict.WARN, f"no answer within {self._check.deadline:g} s", "try again")
        return Finding(**vars(answer), group=self._check.group, name=self._check.name)


def repair_packages(findings: Sequence[Finding]) -> tuple[str, ...]:
    """The Debian packages that repair what was found, each once, in order."""
    return tuple(dict.fromkeys(finding.package for finding in findings if finding.package))
