"""The errors of the toolkit: raised deep, printed once, each with a hint and an exit code."""

from __future__ import annotations

from enum import IntEnum

from homelab_provision.text import last_lines


class ExitCode(IntEnum):
    """What the command `provision` returns. Exit codes of child processes are never passed through."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CHANGES_PENDING = 3
    UNPROVEN = 4
    REFUSED = 5
    LOCKED = 6
    UNHEALTHY = 7
    INTERRUPTED = 130


class ProvisionError(Exception):
    """Something failed that the user should read about: no traceback, one message.

    `message` says what failed and where; `hint` how to mend it; `evidence` holds the last lines of
    what was seen (output of a command, console of a machine), already free of secrets; of a flood only its end is kept.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None, evidence: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.evidence = last_lines(evidence) if evidence else evidence


class UsageError(ProvisionError):
    """The command line or the site's description is wrong; nothing has been started."""

    exit_code = ExitCode.USAGE


class Refused(ProvisionError):
    """A safety rule forbids to go on. Nothing has been written."""

    exit_code = ExitCode.REFUSED


class Unproven(ProvisionError):
    """The work was done, but what came out of it is not what was expected."""

    exit_code = ExitCode.UNPROVEN


class Locked(ProvisionError):
    """Another run holds the host."""

    exit_code = ExitCode.LOCKED


class Interrupted(ProvisionError):
    """The user pressed Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED
