"""What goes wrong, said once at the top; and the polite ways to be stopped."""

from __future__ import annotations

import signal
from types import FrameType


class Trouble(Exception):
    """A failure that a person can do something about: what, where, how to mend it, and the last words of who failed."""

    def __init__(self, message: str, hint: str | None = None, evidence: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.evidence = evidence or None

    @property
    def with_hint(self) -> str:
        """For people: the message, and the hint on a line of its own."""
        return "\n  ".join(filter(None, (self.message, self.hint)))


class Stopped(BaseException):
    """Somebody asked this program to stop. Not an `Exception`, so that nothing but the top takes it."""


def stop_on_signals() -> None:
    """Turn the first polite signal into `Stopped`. Further ones would only disturb the cleaning up."""
    desired = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in desired:
            signal.signal(each, lambda number, frame: None)
        raise Stopped(signal.Signals(number).name)

    for each in desired:
        signal.signal(each, stop)
