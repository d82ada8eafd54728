"""A file that a power cut leaves as it was, or as it was to be."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, text: str, mode: int) -> None:
    """Make a file with this text, or replace one: whole, or not at all, also if the power goes."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
