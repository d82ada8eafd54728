"""The serial console of a machine, in this terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from pathlib import Path

from homelab_provision.errors import ProvisionError, UsageError
from homelab_provision.lab.qmp import connect_unix

ESCAPE = b"\x1d"  # Ctrl-]


def attach(console_socket: Path) -> None:
    """Join this terminal to a serial console until Ctrl-] is pressed or the machine is switched off."""
    if not sys.stdin.isatty():
        raise UsageError("a console needs a terminal", hint="`provision lab status` names the console's log")
    try:
        link = connect_unix(console_socket, deadline=5.0)
    except OSError as error:
        raise ProvisionError(
            f"no console at {console_socket}: {error.strerror or error}",
            hint="only one can be attached, and only while the machine is on",
        ) from None
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    link.settimeout(None)
    with link:
        try:
            tty.setraw(terminal)
            relay(terminal, sys.stdout.fileno(), link.fileno())
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def relay(keyboard: int, screen: int, line: int) -> None:
    """Carry bytes both ways between file descriptors, until the escape key or the end of the line."""
    while True:
        ready, _, _ = select.select([keyboard, line], [], [])
        if line in ready:
            output = os.read(line, 65536)
            if not output:
                return
            _write(screen, output)
        if keyboard in ready:
            typed = os.read(keyboard, 1024)
            before, escaped, _ = typed.partition(ESCAPE)
            _write(line, before)
            if escaped or not typed:
                return


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
