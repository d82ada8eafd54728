"""The command line of a role's program: one job, JSON lines on stdout, exit status 0 or 1 (2: wrong usage)."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from . import report
from .errors import Stopped, Trouble, stop_on_signals
from .timestamps import parse_moment


def run(work: Callable[[], dict[str, object]]) -> int:
    """Do it, and say how it ended; the exit status."""
    stop_on_signals()
    try:
        report.result(work())
    except Trouble as trouble:
        report.error(trouble.message, trouble.hint, trouble.evidence)
        return 1
    except (Stopped, BrokenPipeError, KeyboardInterrupt) as stopped:
        return _farewell(stopped)
    except OSError as error:
        report.error(f"{error.filename or 'a file'}: {error.strerror}", None, None)
        return 1
    return 0


def _farewell(stopped: BaseException) -> int:
    """What was begun is stopped by now. Say so if anybody still listens."""
    hint = "run the same command again: it goes on where this run stopped"
    try:
        report.error(f"stopped by {stopped or 'the reader going away'}", hint, None)
    except OSError:
        # Nobody listens; Python must not complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def request(words: argparse.Namespace) -> dict[str, str]:
    """What is asked for, as the lock notes it: whoever waited for the same gets the answer of the first."""
    return {name: str(value) for name, value in sorted(vars(words).items()) if value is not None}


def moment(text: str) -> datetime:
    """An argument that is a time that has been."""
    try:
        return parse_moment(text, datetime.now().astimezone())
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from None


def fingerprint(where: str) -> Any:
    """An argument that is `-`: the JSON on standard input."""
    if where != "-":
        raise argparse.ArgumentTypeError("only standard input (-) is read")
    try:
        return json.load(sys.stdin)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f"no JSON: {wrong}") from None
