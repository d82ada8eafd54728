"""Who acts on the box: switches its power, plugs its stick.

`person` is told what to do; `lab` acts on virtual machines. The stick is the same file for both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from homelab_provision.site import Machine


class Operator(Protocol):
    """Hands and eyes beside a machine."""

    @property
    def patience(self) -> float:
        """Seconds that it may take until a machine that was asked for is there."""

    def start_from_stick(self, machine: Machine, stick: Path) -> None:
        """Make the machine start from the stick, whatever state it is in."""

    def take_stick(self, machine: Machine) -> None:
        """The stick is not needed any more."""

    def start_from_disk(self, machine: Machine) -> None:
        """Make a machine that does not answer start from its own disk."""

    def shown_code(self, machine: Machine) -> str | None:
        """The confirmation code on the machine's own screen; `None`: only a person can read it."""

    def console(self, machine: Machine) -> str:
        """The last lines of the machine's console, as far as this operator can see it."""
