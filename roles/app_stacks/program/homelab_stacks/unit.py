"""The unit of a stack, as far as a restore has to do with it."""

from __future__ import annotations

from dataclasses import dataclass

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import run

# A stack that pulls images, or whose database takes its time to end.
PATIENCE = 1800.0


@dataclass(frozen=True)
class Unit:
    name: str

    def active(self) -> bool:
        """Whether it runs, or is about to; one that does not exist does not."""
        output = run(["systemctl", "is-active", self.name], patience=60)
        return output.out.strip() in ("active", "activating", "reloading", "deactivating")

    def stop(self) -> None:
        report.step(f"stop {self.name}")
        self._do("stop")

    def begin(self) -> None:
        """Start it, and do not wait for it."""
        self._do("start", "--no-block")

    def start(self) -> None:
        """Start it, or see a start that is under way to its end."""
        report.step(f"start {self.name}")
        self._do("start")

    def _do(self, verb: str, *options: str) -> None:
        output = run(["systemctl", verb, *options, self.name], patience=PATIENCE)
        if output.status:
            words = ["journalctl", f"--unit={self.name}", "--lines=8", "--no-pager", "--output=cat"]
            journal = run(words, patience=60).last_words
            hint = f"journalctl --unit {self.name}"
            raise Trouble(f"systemctl {verb} {self.name} failed", hint, output.last_words or journal)
