"""The units of a stack: the one that runs it, and the slice that limits it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .values import DATA, PROJECTS, Wrong

# A program in a cage: it writes its own folders and nothing else, and has no rights to give up.
HARDENED = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
LockPersonality=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
UMask=0027
"""
# It says what it waits for, and is asked again.
AGAIN = "RestartSec=15\n"


def slice_of(name: str) -> str:
    """A dash would make it a slice within another."""
    return f"stack_{name.replace('-', '_')}.slice"


def of_stack(name: str, kind: str, version: str, entry: Mapping[str, Any], folders: Sequence[str]) -> dict[str, str]:
    """The texts of a stack's units by their names, from the role's own words. Raises `Wrong`."""
    memory = str(entry.get("memory", ""))
    if memory and not re.fullmatch(r"[0-9]+[KMGT]?", memory):
        raise Wrong(f"stack {name}: the memory {memory!r} has to be a number and K, M, G or T")
    limit = f"MemoryMax={memory}\nMemorySwapMax=0\n" if memory else ""
    service = _compose(name) if kind == "compose" else _service(name, entry, folders)
    wants = "network-online.target" + (" docker.service" if kind == "compose" else "")
    unit = f"[Unit]\nDescription=Stack {name} {version}\nWants={wants}\nAfter={wants} nss-lookup.target\n"
    unit += "StartLimitIntervalSec=0\n"
    return {
        f"stack-{name}.service": f"{unit}\n[Service]\n{service}{AGAIN}\n[Install]\nWantedBy=multi-user.target\n",
        slice_of(name): f"[Unit]\nDescription=All that belongs to the stack {name}\n\n[Slice]\n{limit}",
    }


def _compose(name: str) -> str:
    return (
        "Type=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=infinity\nRestart=on-failure\n"
        f"ExecStart=/usr/local/sbin/homelab-stacks up {name}\nExecStop=/usr/local/sbin/homelab-stacks down {name}\n"
    )


def _service(name: str, entry: Mapping[str, Any], folders: Sequence[str]) -> str:
    command = entry.get("command") or []
    if not command or not all(isinstance(word, str) and word.isprintable() for word in command):
        raise Wrong(f"stack {name}: a service has a `command`, a list of words")
    if not command[0].startswith("/"):
        raise Wrong(f"stack {name}: the command begins with the whole path of a program, not {command[0]!r}")
    home, data = PROJECTS / name, DATA / name
    places = [f"{data}/{folder}" for folder in folders] + [f"-{mount}" for mount in entry.get("mounts", [])]
    # json.dumps quotes as systemd reads it; a percent sign would begin a specifier.
    words = " ".join(json.dumps(word, ensure_ascii=False).replace("%", "%%") for word in command)
    return (
        f"Type=exec\nRestart=always\nUser=stack-{name}\nGroup=stack-{name}\nSlice={slice_of(name)}\n"
        f"EnvironmentFile={home}/environment\nWorkingDirectory={data}\n"
        f"ExecStartPre=+/usr/local/sbin/homelab-stacks needs {name}\nExecStart={words}\n"
        + "".join(f"LoadCredential={each}:{home}/secrets/{each}\n" for each in sorted(entry.get("secrets", {})))
        + "".join(f"ReadWritePaths={place}\n" for place in places)
        + HARDENED
    )
