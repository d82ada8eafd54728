"""A build is tried before it is relied on: it has to start with the presets, which one wrong word in them prevents."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from .ask import ask, is_healthy
from .config import Config
from .errors import Trouble
from .flags import Flags
from .presets import presets, router
from .process import NOBODY, start_as_nobody

SECONDS = 60.0
GRACE = 10.0


def try_out(server: Path, config: Config, flags: Flags, seconds: float = SECONDS) -> None:
    """Start the build once with these presets, as nobody, at a socket of its own, and with no model loaded.

    Raises Trouble with its own words if it does not come up, or does not have the models.
    """
    with tempfile.TemporaryDirectory(prefix="homelab-inference-") as made:
        folder = Path(made)
        (folder / "presets.ini").write_text(presets(config, flags, load_on_startup=False))
        (folder / "presets.ini").chmod(0o644)
        room = folder / "room"
        room.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(room, NOBODY, NOBODY)
        folder.chmod(0o711)
        with (folder / "log").open("w+b") as log:
            words: list[str | Path] = [server, "--host", room / "try.sock", "--port", str(config.port)]
            words += [*router(folder / "presets.ini", 1), *(["--offline"] if flags.knows("offline") else [])]
            child = start_as_nobody(words, log)
            try:
                why = _watched(child, room / "try.sock", {model.name for model in config.models}, seconds)
            finally:
                _end(child)
            if why:
                log.seek(0)
                raise Trouble(
                    f"llama.cpp {flags.version} {why}: {_last_words(log.read().decode(errors='replace'))}",
                    "nothing was changed: what was served before goes on being served",
                )


def _watched(child: subprocess.Popen[bytes], path: Path, models: set[str], seconds: float) -> str:
    """Why it will not do; empty if it will."""
    deadline = time.monotonic() + seconds
    while not is_healthy(path):
        if child.poll() is not None:
            return "does not start with these presets"
        if time.monotonic() > deadline:
            return f"has not come up within {seconds:.0f} s"
        time.sleep(0.05)
    answer = ask(path, "/v1/models")
    known = {str(model["id"]) for model in answer.json["data"]} if answer and answer.status == 200 else set()
    lost = sorted(models - known)
    return f"does not know the models {', '.join(lost)} of these presets" if lost else ""


def _end(child: subprocess.Popen[bytes]) -> None:
    """By its own id, and its session with it; one that does not listen is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
            return


def _last_words(log: str) -> str:
    lines = [line for line in log.strip().splitlines() if line.strip()]
    errors = [line for line in lines if " E " in line or "error" in line.lower()]
    return " / ".join((errors or lines)[-2:]) or "it said nothing"
