"""Virtual environments of services: exact versions from the Python index, each set in a place of its own.

/srv/stacks/.venv/NAME/DIGEST   made beside the one that is in use, which stays until the new one is known to work
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import run

from .values import DATA

ENVIRONMENTS = DATA / ".venv"
# What names one version and no other: `name==1.2`, `name[extra]==1.2`.
EXACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?==[A-Za-z0-9.!+_-]+")
# Seconds without a word: a large package over a slow line says little.
PATIENCE = 3600.0
_COMPLETE = "complete"


def place(name: str, packages: Sequence[str]) -> Path:
    """Where the environment with these packages is, or will be: it cannot be moved once it is made."""
    return ENVIRONMENTS / name / hashlib.sha256("\n".join(sorted(packages)).encode()).hexdigest()[:12]


def make(folder: Path, name: str, packages: Sequence[str]) -> None:
    """Make it, if it is not there. Raises `Trouble` if a package cannot be had, and leaves nothing."""
    if (folder / _COMPLETE).exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    for each in (ENVIRONMENTS, folder.parent):
        each.chmod(0o755)
    report.step(f"install {', '.join(packages)}")
    # Wheels alone: what has to be built would run code of its own as root.
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-input", "--no-cache-dir"]
    pip += ["--disable-pip-version-check", "--only-binary=:all:", *packages]
    fresh = ["/usr/bin/python3", "-m", "venv", "--clear", str(folder)]
    # What this program makes nobody else may read, and the service runs under an account of its own.
    for words in (fresh, pip, ["chmod", "--recursive", "go+rX", str(folder)]):
        done = run(words, patience=PATIENCE)
        if done.status:
            raise Trouble(f"{name}: its packages cannot be installed", _hint(done.last_words), done.last_words)
    (folder / _COMPLETE).touch()


def _hint(said: str) -> str:
    if "no space left" in said.lower():
        return "make room in /srv, then apply this host again"
    if "No matching distribution" in said:
        return "compare its name and version with the index; there has to be a wheel of it for this host's Python"
    return "see whether the Python index answers this host"
