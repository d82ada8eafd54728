"""One stack that is in force, as its own unit runs it: it waits for what it needs, comes up, and is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import run

from . import engine, health, needs
from .project import Project
from .values import PROJECTS, object_of

# sysexits.h: try again later. systemd does, for a unit that fails.
TRY_AGAIN = 75
# The state of a unit that has failed, and is started again in a while.
FAILS = ("activating", "auto-restart")


class Waits(Trouble):
    """What the stack needs is not there yet; nothing was started."""


@dataclass(frozen=True)
class Running:
    """What is known of a stack on this host."""

    project: Project
    kind: str
    needs: needs.Needs
    health: health.Health

    @property
    def name(self) -> str:
        return self.project.name

    def require(self) -> None:
        """Raise `Waits` unless all that it needs is there."""
        if lacking := needs.lacking(self.needs):
            raise Waits(f"{self.name} waits for {' and '.join(lacking)}", "it starts by itself when that is back")

    def up(self) -> None:
        """Start a compose project and ask it. Raises `Trouble` with the last lines of its logs."""
        self.require()
        engine.up(self.project.home, self.name)
        self.ask()

    def state(self) -> tuple[str, str]:
        """What systemd says of its unit: `active`, `exited`; `activating`, `auto-restart`; …"""
        words = ["systemctl", "show", "--property=ActiveState", "--property=SubState", "--value", self.project.unit]
        active, _, sub = run(words, patience=60).out.strip().partition("\n")
        return active, sub

    def ask(self) -> None:
        """Raise `Trouble` if it does not become healthy in time."""
        if wrong := health.wait(self.health, report.alive):
            hint = f"systemctl status {self.project.unit}"
            raise Trouble(f"{self.name} is not healthy: {wrong}", hint, self.last_words())

    def last_words(self) -> str:
        if self.kind == "compose":
            return engine.last_words(self.project.home, self.name)
        journal = ["journalctl", f"--unit={self.project.unit}", f"--lines={engine.LOG_LINES}", "--output=cat"]
        return run([*journal, "--no-pager"], patience=60).out.strip()


def load(name: str, told: Mapping[str, Any]) -> Running:
    """What the role wrote of a stack. Raises `Wrong`."""
    where = f"stack {name}"
    found = needs.parse(told.get("needs"), f"{where}, needs"), health.parse(told.get("health"), f"{where}, health")
    return Running(Project(name), str(told.get("kind")), *found)


def find(name: str) -> Running:
    """The stack of that name that is in force. Raises `Trouble` if there is none."""
    file = Project(name).home / "stack.json"
    if "/" in name or not file.exists():
        known = ", ".join(
            sorted(path.parent.name for path in PROJECTS.glob("*/stack.json") if "." not in path.parent.name)
        )
        raise Trouble(f"there is no stack {name}", f"there are: {known or 'none'}")
    try:
        return load(name, object_of(json.loads(file.read_text()), "the whole"))
    except (OSError, ValueError) as error:
        raise Trouble(f"{file} cannot be used: {error}", "apply this host again: its role writes it") from None
