"""What is remembered between two looks, in files that a power cut leaves as they were or as they were to be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homelab_host import synced

FOLDER = Path("/var/lib/homelab-provision/vpn")
# Of the list of repairs: a year of one a day is far from it.
MOST_REPAIRS = 1000


@dataclass(frozen=True)
class Memory:
    """`good` is the last configuration that was in effect, `repairs` what was done and why, a line of JSON each."""

    folder: Path = FOLDER

    @property
    def good(self) -> Path:
        return self.folder / "good.json"

    @property
    def repairs(self) -> Path:
        return self.folder / "repairs.jsonl"

    def recall(self, name: str) -> dict[str, Any]:
        """What was kept under a name; nothing, if it was not, or cannot be read any more."""
        try:
            found = json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def keep(self, name: str, values: dict[str, Any]) -> None:
        write(self.folder / f"{name}.json", json.dumps(values, sort_keys=True) + "\n")

    def add_repairs(self, lines: list[dict[str, Any]]) -> None:
        try:
            before = self.repairs.read_text().splitlines()
        except OSError:
            before = []
        kept = [*before, *(json.dumps(line, sort_keys=True) for line in lines)][-MOST_REPAIRS:]
        write(self.repairs, "".join(f"{line}\n" for line in kept))


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Make a file with this text, or replace one, in a folder that is made where there is none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    synced.write(path, text, mode)
