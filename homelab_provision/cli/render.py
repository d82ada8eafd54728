"""The stream of events on the terminal: a live tree where someone watches, plain lines where not; and errors.

Everything goes to standard error; standard output belongs to data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.text import Text

from homelab_provision.cli.live import LiveRenderer
from homelab_provision.cli.plain import PlainRenderer
from homelab_provision.cli.terminal import LONGEST_TEXT, Renderer, console_of, say
from homelab_provision.errors import ProvisionError
from homelab_provision.text import clipped, printable

EVIDENCE_LINES = 20


def renderer(
    *, phases: Sequence[str] = (), stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
) -> Renderer:
    """The renderer that suits `stream` (standard error): a live tree on a terminal, plain lines elsewhere.

    `phases` are the names of all phases of the run, in order, so that what is still to come can be shown.
    """
    console = console_of(stream, environ)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveRenderer(console, phases)
    return PlainRenderer(console)


def print_error(
    error: ProvisionError, *, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
) -> None:
    """What failed, the last lines of evidence, a blank line, and how to mend it."""
    console = console_of(stream, environ)
    say(console, Text.assemble(("error", "bold red"), ": ", clipped(printable(error.message), LONGEST_TEXT)))
    if error.evidence:
        for line in printable(error.evidence).strip("\n").splitlines()[-EVIDENCE_LINES:]:
            say(console, Text.assemble(("  | ", "dim"), line))
    if error.hint:
        say(console, Text())
        say(console, Text.assemble(("hint", "bold cyan"), ": ", clipped(printable(error.hint))))
