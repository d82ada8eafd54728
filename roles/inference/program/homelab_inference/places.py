"""Where things lie on a host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """`builds` and `state` are disposable; models lie where the configuration says."""

    builds: Path = Path("/opt/llama.cpp")
    state: Path = Path("/etc/homelab-provision/inference")
    document: Path = Path("/etc/homelab-provision/inference.json")
    lock: Path = Path("/run/homelab-inference.lock")
    socket: Path = Path("/run/homelab-inference/llama.sock")
    # Where systemd lays the keys for the unit: LoadCredential=.
    keys: Path = Path("/run/credentials/homelab-inference.service/keys")

    @property
    def current(self) -> Path:
        """The build that is served: a link to its directory."""
        return self.builds / "current"

    @property
    def previous(self) -> Path:
        """The build that was served before it."""
        return self.builds / "previous"

    @property
    def presets(self) -> Path:
        return self.state / "presets.ini"

    @property
    def arguments(self) -> Path:
        return self.state / "arguments"


def link(path: Path, target: str) -> None:
    """Make a link, or let it lead elsewhere; at no moment is there none."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)


def led_to(path: Path) -> str:
    """The name that a link leads to; empty if there is no link."""
    return path.readlink().name if path.is_symlink() else ""
