"""The throw-away copy of a compose project: what it is made of, so that it can touch nothing but its scratch data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from homelab_host.errors import Trouble

NETWORK = "proof"
# What would let it be reached (labels: by a front door that looks for them), meet the live stack, outlive the proof, or
# act on the host.
DROPPED = (
    "ports",
    "container_name",
    "restart",
    "network_mode",
    "networks",
    "external_links",
    "mac_address",
    "build",
    "privileged",
    "devices",
    "device_cgroup_rules",
    "cap_add",
    "pid",
    "ipc",
    "uts",
    "cgroup",
    "userns_mode",
    "cgroup_parent",
    "logging",
    "labels",
    "scale",
    "profiles",
)
# Sockets of the host lie there: who may talk to the engine may do everything.
NEVER = ("/run", "/var/run", "/dev", "/proc", "/sys")


def throwaway(told: str, name: str, folder: Path, scratch: Path) -> str:
    """The compose file (JSON is YAML) of the copy, as a whole.

    `told` is what `docker compose config --format json` says of the project with STACK_DATA set to the scratch
    folder, so everything is resolved in it. Volumes below the stack's folder are moved to the scratch folder,
    others can only be read. Not an override of the project's file: those add to its lists, and keep what they do not
    name. Raises `Trouble` if this is no such text.
    """
    try:
        found = json.loads(told)
        services = {each: _service(service, folder, scratch) for each, service in found["services"].items()}
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise Trouble(f"docker compose described the stack {name} in a way that is not understood: {error!r}") from None
    made = {
        "name": f"proof-{name}",
        "services": services,
        "networks": {NETWORK: {"internal": True}},
        # Those that the engine keeps begin empty, under names of their own.
        "volumes": {each: {} for each in found.get("volumes") or {}},
    }
    made |= {each: _unnamed(found[each]) for each in ("secrets", "configs") if found.get(each)}
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def outside(text: str, scratch: Path) -> list[str]:
    """Sources of volumes that lie in the scratch folder by their name, but not where their links lead."""
    sources = [
        volume["source"]
        for service in json.loads(text)["services"].values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind" and not volume.get("read_only")
    ]
    real = scratch.resolve()
    return [source for source in sources if not Path(source).resolve().is_relative_to(real)]


def _service(told: Mapping[str, Any], folder: Path, scratch: Path) -> dict[str, Any]:
    service = {key: value for key, value in told.items() if key not in DROPPED}
    # Of one that shares the network of another of the project, that one has it.
    if str(told.get("network_mode", "")).startswith("service:"):
        service["network_mode"] = told["network_mode"]
    else:
        service["networks"] = {NETWORK: _aliases(told.get("networks") or {})}
    service["volumes"] = [
        moved for each in told.get("volumes") or [] if (moved := _volume(each, folder, scratch)) is not None
    ]
    service["restart"] = "no"
    service["pull_policy"] = "missing"
    deploy = {key: value for key, value in (told.get("deploy") or {}).items() if key == "resources"}
    service.pop("deploy", None)
    return {**service, "deploy": deploy} if deploy else service


def _aliases(networks: Mapping[str, Any]) -> dict[str, Any] | None:
    names = sorted({alias for each in networks.values() for alias in (each or {}).get("aliases") or []})
    return {"aliases": names} if names else None


def _volume(told: Mapping[str, Any], folder: Path, scratch: Path) -> dict[str, Any] | None:
    if told["type"] != "bind":
        return dict(told) if told["type"] in ("volume", "tmpfs") else None
    source = PurePosixPath(told["source"])
    if source.is_relative_to(scratch):
        return dict(told)
    if source.is_relative_to(folder):
        return {**told, "source": str(scratch / source.relative_to(folder))}
    if any(source.is_relative_to(never) for never in NEVER):
        return None
    return {**told, "read_only": True, "bind": {**(told.get("bind") or {}), "create_host_path": False}}


def _unnamed(told: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: {key: value for key, value in each.items() if key != "name"} for name, each in told.items()}
