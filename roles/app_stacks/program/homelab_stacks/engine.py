"""Compose projects: what is asked of the engine to bring one up, and what it says when one does not come up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import run

from .compose import call
from .units import slice_of

# Seconds without a word: pulling a large image over a slow line says little.
PATIENCE, PULLING = 300.0, 3600.0
LOG_LINES = 20


def override(home: Path, name: str) -> str:
    """What the toolkit lays over a project, as JSON. Raises `Trouble` for a project that compose does not take.

    Containers belong to the slice of the stack, so that its limit holds for all together. Nobody but its unit starts
    them: one that the engine itself would start at boot would not wait for its shares.
    """
    if shutil.which("docker") is None:
        raise Trouble(f"{name} is a compose project, and this host has no Docker", "put it into the group `containers`")
    found = run([*call(home, name), "config", "--format=json"], patience=PATIENCE)
    if found.status:
        raise Trouble(f"{name}: compose.yml cannot be used", "mend it in the site", found.last_words)
    try:
        services = json.loads(found.out)["services"]
    except (ValueError, LookupError):
        raise Trouble(f"{name}: docker compose described the project in a way that is not understood") from None
    laid = {
        service: {"cgroup_parent": slice_of(name)} | ({} if told.get("restart") == "no" else {"restart": "on-failure"})
        for service, told in services.items()
    }
    return json.dumps({"services": laid}, indent=1, sort_keys=True) + "\n"


def pull(home: Path, name: str) -> None:
    """Fetch the images that are not here yet. Raises `Trouble` if one cannot be had."""
    listed = run([*call(home, name), "config", "--images"], patience=PATIENCE)
    if listed.status:
        raise Trouble(f"{name}: compose.yml cannot be used", "mend it in the site", listed.last_words)
    for image in dict.fromkeys(listed.out.split()):
        if run(["docker", "image", "inspect", image], patience=PATIENCE).status == 0:
            continue
        report.step(f"pull {image}")
        done = run(["docker", "pull", "--quiet", image], patience=PULLING)
        if done.status:
            raise Trouble(f"{name}: the image {image} cannot be had", _hint(done.last_words), done.last_words)


def _hint(said: str) -> str:
    if "no space left" in said.lower():
        return "make room in /srv (docker image prune), then apply this host again"
    if "manifest unknown" in said or "not found" in said or "does not match" in said or "invalid digest" in said:
        return "compare its tag and digest with what the registry has"
    return "see whether the registry answers this host; an image can be brought with `docker load` as well"


def up(home: Path, name: str) -> None:
    done = run([*call(home, name), "up", "--detach", "--remove-orphans", "--pull=never"], patience=PATIENCE)
    if done.status:
        raise Trouble(f"{name} does not start", f"journalctl --unit=stack-{name}.service", done.last_words)


def down(name: str) -> None:
    """Stop and remove the containers of a project, whatever is left of its files; without an engine there are none."""
    if shutil.which("docker") is None:
        return
    done = run(["docker", "compose", f"--project-name={name}", "down", "--remove-orphans"], patience=PATIENCE)
    if done.status:
        raise Trouble(f"{name} does not stop", f"docker compose --project-name={name} ps", done.last_words)


def last_words(home: Path, name: str) -> str:
    """The last lines that its containers said."""
    done = run([*call(home, name), "logs", "--no-color", f"--tail={LOG_LINES}"], patience=PATIENCE)
    return "\n".join(done.out.strip().splitlines()[-LOG_LINES:])
