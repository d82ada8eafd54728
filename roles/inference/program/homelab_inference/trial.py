"""A build is tried before it is relied on: it has to start with the presets, which one wrong word in them prevents."""

from __future__ import annotations

from pathlib import Path

from homelab_host.errors import Trouble

from .ask import ask
from .config import Config
from .flags import Flags
from .presets import offline, presets, router
from .scratch import Scratch, served

SECONDS = 60.0  # at least


def try_out(server: Path, config: Config, flags: Flags) -> None:
    """Start the build once with these presets, and with no model loaded.

    Raises Trouble with its own words if it does not come up, or does not have the models.
    """
    files = {"presets": presets(config, flags, load_on_startup=False)}
    words = [server, "--port", str(config.port), *router("{presets}", 1), *offline(flags)]
    with served(words, files, max(SECONDS, config.start_seconds)) as found:
        why = f"{found.wrong} with these presets" if found.wrong else _lacks(found, config)
        if why:
            raise Trouble(
                f"llama.cpp {flags.version} {why}: {found.last_words}",
                "nothing was changed: what was served before goes on being served",
            )


def _lacks(found: Scratch, config: Config) -> str:
    answer = ask(found.socket, "/v1/models")
    known = {str(model["id"]) for model in answer.json["data"]} if answer and answer.status == 200 else set()
    lost = sorted({model.name for model in config.models} - known)
    return f"does not know the models {', '.join(lost)} of these presets" if lost else ""
