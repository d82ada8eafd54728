"""What the report tells beyond the events: the machine, the plan, test results, consoles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


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
