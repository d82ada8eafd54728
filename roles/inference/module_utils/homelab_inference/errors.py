"""What goes wrong, said once at the top."""

from __future__ import annotations


class Trouble(Exception):
    """A failure that a person can do something about: what it is, and how to mend it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
