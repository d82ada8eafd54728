"""What is served: a build, its presets and its arguments, put in place together, or not at all."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homelab_host import report, synced
from homelab_host.errors import Trouble

from .ask import ask, is_healthy
from .builds import point, server_of
from .config import Config
from .flags import Flags, flags_of
from .places import Places, led_to, link
from .presets import arguments, presets
from .service import Service
from .trial import try_out

TICK = 0.2


@dataclass(frozen=True)
class Served:
    """`build` is a name, the others are texts. All are empty where nothing was served yet."""

    build: str
    presets: str
    arguments: str


def desired(config: Config, flags: Flags, name: str, places: Places) -> Served:
    """What has to be in place to serve this configuration with this build."""
    # The server reads these files, too: if their bytes are others, it has to start anew.
    bytes_of = [f"# {model.name}/{file.name} {file.sha256}" for model in config.models for file in model.files]
    head = "\n".join([f"# Written by homelab-inference for llama.cpp {flags.version}; an edit is lost.", *bytes_of])
    words = shlex.join(arguments(config, flags, places))
    return Served(name, f"{head}\n{presets(config, flags)}", f"ARGUMENTS={words}\n")


def in_place(places: Places) -> Served:
    return Served(led_to(places.current), _text(places.presets), _text(places.arguments))


def settle(config: Config, name: str, places: Places, service: Service, check: bool = False) -> list[str]:
    """Serve this configuration with a build; returns what was (or would be) done. On Trouble the old is in service."""
    server = server_of(places, name)
    flags = flags_of(server)
    wanted, before = desired(config, flags, name, places), in_place(places)
    actions = (
        []
        if wanted.build == before.build
        else [f"serve build {name}" + (f" instead of {before.build}" if before.build else "")]
    )
    actions += [] if wanted.presets == before.presets else ["write presets"]
    actions += [] if wanted.arguments == before.arguments else ["write arguments"]
    if not actions:
        if service.state() != "active":
            actions.append("start the server")
        elif is_healthy(places.socket):
            return []
    if check:
        return actions
    if wanted != before:
        report.step(f"try the presets with build {name}")
        try_out(server, config, flags)
    report.step("restart the server")
    _put(wanted, places)
    service.restart()
    why = _await(config, places, service)
    if why:
        raise Trouble(f"build {name} does not serve: {why}", _go_back(before, config, places, service))
    if before.build and before.build != name:
        link(places.previous, before.build)
    return actions or ["restarted the server, which did not answer"]


def _put(served: Served, places: Places) -> None:
    places.state.mkdir(parents=True, exist_ok=True)
    synced.write(places.presets, served.presets, 0o644)
    synced.write(places.arguments, served.arguments, 0o644)
    point(places, served.build)


def _go_back(before: Served, config: Config, places: Places, service: Service) -> str:
    """To what was served; where nothing was, to nothing. What has come of it."""
    if not before.build:
        service.stop()
        for path in (places.presets, places.arguments, places.current):
            path.unlink(missing_ok=True)
        return "nothing was served before, and nothing is now"
    older, failed = led_to(places.previous), led_to(places.current)
    _put(before, places)
    if failed != before.build:
        # The one that failed is not what anybody wants to roll back to.
        places.previous.unlink(missing_ok=True)
        if older not in ("", before.build):
            link(places.previous, older)
    service.restart()
    why = _await(config, places, service, loaded=False)
    return f"build {before.build} " + (f"does not come up again: {why}" if why else "is served again, as it was")


def _await(config: Config, places: Places, service: Service, *, loaded: bool = True) -> str:
    """Wait until it answers and, if `loaded`, has loaded what it has to. Why it does not; empty if it does."""
    deadline = time.monotonic() + config.start_seconds
    while time.monotonic() < deadline:
        if service.state() not in ("active", "activating"):
            return f"it ended: {service.last_words()}"
        if is_healthy(places.socket):
            why = _loading(config, places) if loaded else ""
            if why is not None:
                return why and f"{why}: {service.last_words()}"
        time.sleep(TICK)
    return f"it has not come up within {config.start_seconds} s (inference_start_timeout): {service.last_words()}"


def _loading(config: Config, places: Places) -> str | None:
    """None while models that come with the start are being loaded; else the one that failed, or nothing."""
    awaited = {model.name for model in config.models if model.load_on_startup}
    if not awaited:
        return ""
    states = models(places)
    failed = sorted(name for name in awaited if states.get(name, {}).get("failed"))
    if failed:
        return f"{', '.join(failed)} could not be loaded"
    return "" if all(states.get(name, {}).get("value") == "loaded" for name in awaited) else None


def models(places: Places) -> Mapping[str, Mapping[str, Any]]:
    """The state of every model, as the server tells it; nothing if it tells nothing."""
    answer = ask(places.socket, "/models", key_of(places))
    if answer is None or answer.status != 200:
        return {}
    return {str(model["id"]): model.get("status", {}) for model in answer.json.get("data", [])}


def key_of(places: Places) -> str:
    """A key that opens the server; empty if it wants none."""
    lines = _text(places.state / "keys").splitlines()
    return next((line for line in lines if line and not line.startswith("#")), "")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
