"""A container of the role tests, as the scenarios' own tests (molecule/*/test_*.py) ask it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Self

import pytest

# Longest that anything may take there, in seconds.
PATIENCE = 180


@dataclass(frozen=True)
class Container:
    """A container, by its name."""

    name: str

    @classmethod
    def of(cls, config: pytest.Config) -> Self:
        """The one that these tests are about."""
        return cls(str(config.getoption("--hosts")).partition("://")[2])

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the shell, which stops at the first command that fails."""
        words = ["docker", "exec", self.name, "bash", "-euc", script]
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def sh(self, script: str, status: int = 0) -> str:
        """What a script says; its status has to be the one expected."""
        done = self.run(script)
        assert done.returncode == status, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    @property
    def address(self) -> str:
        """Its address as this computer knows it, and not that of a network within it."""
        route: list[dict[str, str]] = json.loads(self.sh("ip -json -4 route get 192.0.2.1"))
        return route[0]["prefsrc"]
