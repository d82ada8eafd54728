"""Who acts on the box: switches its power, plugs its stick. Each operator is one file in this folder, and its name is
the file's; the file's function `operator` makes it for a run.

`person` is told what to do, `wol` wakes what it can before that; `lab` acts on virtual machines. The stick is the same
file for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from homelab_provision import paths
from homelab_provision.errors import UsageError
from homelab_provision.events import Emit
from homelab_provision.site.models import Machine, Site


class Operator(Protocol):
    """Hands and eyes beside a machine."""

    @property
    def patience(self) -> float:
        """Seconds that it may take until a machine that was asked for is there."""

    def start_from_stick(self, machine: Machine, stick: Path) -> None:
        """Make the machine start from the stick, whatever state it is in."""

    def start_from_network(self, machine: Machine) -> None:
        """Make the machine ask the network for a system this once, whatever state it is in."""

    def take_stick(self, machine: Machine) -> None:
        """The stick is not needed any more."""

    def start_from_disk(self, machine: Machine) -> None:
        """Make a machine that does not answer start from its own disk."""

    def shown_code(self, machine: Machine) -> str | None:
        """The confirmation code on the machine's own screen; `None`: only a person can read it."""

    def console(self, machine: Machine) -> str:
        """The last lines of the machine's console, as far as this operator can see it."""


def one_at_a_time(name: str) -> bool:
    """Whether machines wait until the rescue of the one before has answered; its module says so."""
    return bool(getattr(import_module(f"{__name__}.{name}"), "ONE_AT_A_TIME", False))


class AtHost(Protocol):
    """Runs a program at a host of the site, for who must act from there."""

    def __call__(self, host: str, argv: Sequence[str], input: str, deadline: float) -> object:
        """Feed it `input`; raises `ProvisionError` if it fails, or takes longer than `deadline` seconds."""


# Made of the site, the file that keeps what a machine's console says in this run, whom to tell, and the way to hosts.
Maker = Callable[[Site, Path, Emit, AtHost], Operator]


def operator_called(name: str) -> Maker:
    """What makes the operator with this name. Raises `UsageError` for one that there is not."""
    if name not in paths.operators():
        raise UsageError(f"there is no operator `{name}`", hint=f"one of: {', '.join(paths.operators())}")
    maker: Maker = import_module(f"{__name__}.{name}").operator
    return maker
