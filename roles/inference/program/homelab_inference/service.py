"""The unit that serves, as systemd knows it."""

from __future__ import annotations

from homelab_host import process

UNIT = "homelab-inference.service"
SECONDS = 120.0


class Service:
    """What is done with it. A test that has no systemd does the same with a process of its own."""

    def restart(self) -> None:
        process.run_within(["systemctl", "reset-failed", UNIT], seconds=SECONDS)
        process.run_within(["systemctl", "restart", UNIT], seconds=SECONDS)

    def stop(self) -> None:
        process.run_within(["systemctl", "stop", UNIT], seconds=SECONDS)

    def state(self) -> str:
        """`active`, `activating`, `failed`, or `inactive`."""
        return process.run_within(
            ["systemctl", "show", "--property=ActiveState", "--value", UNIT], seconds=SECONDS
        ).out.strip()

    def last_words(self) -> str:
        words = ["journalctl", "--unit", UNIT, "--lines", "8", "--output", "cat", "--no-pager"]
        return process.run_within(words, seconds=SECONDS).out.strip()
