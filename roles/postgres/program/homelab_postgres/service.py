"""The cluster that the host serves: its unit, its door, and what may stand in the way of replacing it."""

from __future__ import annotations

import time

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import run

from .config import Setup
from .sql import Door, SqlError

START_SECONDS, STOP_SECONDS = 900.0, 3900.0


class Service:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def active(self) -> bool:
        """Whether it runs, or is about to."""
        output = run(["systemctl", "is-active", self.setup.service], patience=60, root=True)
        return output.out.strip() in ("active", "activating", "reloading", "deactivating")

    def door(self) -> Door:
        """The way in; raises `Trouble` if nobody is there."""
        door = Door(self.setup.socket, self.setup.port)
        try:
            door.ask("SELECT 1")
        except SqlError as error:
            raise Trouble(
                "the cluster does not answer",
                f"systemctl status {self.setup.service} tells more; a restore does without a cluster that is stopped",
                error.evidence or error.message,
            ) from None
        return door

    def stop(self) -> None:
        """Stop it; the server archives its last WAL before it ends."""
        report.step(f"stop {self.setup.service}")
        self._systemctl("stop", STOP_SECONDS)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        report.step(f"start {self.setup.service}")
        self._systemctl("start", START_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.door()
                return
            except Trouble as trouble:
                # The unit tells nothing: Debian's lets a failed start pass.
                if not self.active() or time.monotonic() > deadline:
                    raise Trouble(
                        f"{self.setup.service} was started and does not answer",
                        f"journalctl --unit {self.setup.service}",
                        self._journal() or trouble.evidence,
                    ) from None
            time.sleep(0.5)

    def _systemctl(self, verb: str, patience: float) -> None:
        output = run(["systemctl", verb, self.setup.service], patience=patience, root=True)
        if output.status != 0:
            raise Trouble(f"systemctl {verb} {self.setup.service} failed", None, output.last_words or self._journal())

    def _journal(self) -> str:
        words = ["journalctl", f"--unit={self.setup.service}", "--lines=8", "--no-pager", "--output=cat"]
        return run(words, patience=60, root=True).last_words
