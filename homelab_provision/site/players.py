from __future__ import annotations
from pathlib import Path


def record_player(site_root: Path, host: str, machine: str) -> None:
    raise NotImplementedError
