"""Who is told: the journal, a list of repairs, a file of metrics, and, where declared, a mail or a webhook."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from homelab_host.errors import Trouble

from . import wireguard
from .config import Config
from .memory import Memory, write
from .pair import has
from .process import must
from .watch import Report

SECONDS = 10.0
# How a line says its weight to the journal (sd-daemon(3)).
NOTICE = "<5>"


def tell(config: Config, memory: Memory, report: Report, before: Mapping[str, str]) -> None:
    """Say what was repaired, and what is wrong now and was not before, or the other way round."""
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [{"at": moment, "cause": cause, "repair": repair} for cause, repair in report.repairs]
    if lines:
        memory.add_repairs(lines)
    said = [f"{cause}: {repair}" for cause, repair in report.repairs]
    said += [f"cannot be mended from here: {why}" for about, why in report.troubles.items() if about not in before]
    said += [f"over: {why}" for about, why in before.items() if about not in report.troubles]
    for line in said:
        _say(line)
    if config.metrics:
        write(Path(config.metrics), metrics(config, memory, report), 0o644)
    if said:
        _send(config, said)


def _send(config: Config, said: list[str]) -> None:
    host = socket.gethostname()
    try:
        if config.webhook:
            body = json.dumps({"host": host, "interface": config.interface, "said": said}).encode()
            asked = urllib.request.Request(config.webhook, body, {"Content-Type": "application/json"})
            urllib.request.urlopen(asked, timeout=SECONDS).close()
        if config.mail:
            text = "\n".join([f"To: {config.mail}", f"Subject: VPN of {host}", "", *said, ""])
            must(["/usr/sbin/sendmail", "-oi", "-t"], feed=text, seconds=SECONDS)
    except (Trouble, OSError, ValueError) as error:
        # Nothing of the address, which may be a secret.
        _say(f"nobody could be told of it: {getattr(error, 'reason', None) or type(error).__name__}")


def _say(line: str) -> None:
    print(f"{NOTICE if 'JOURNAL_STREAM' in os.environ else ''}{line}", flush=True)


def metrics(config: Config, memory: Memory, report: Report) -> str:
    """As Prometheus reads them from a file (the textfile collector of its node exporter)."""
    state = wireguard.read(config.interface)
    lines = [
        "# TYPE homelab_vpn_up gauge",
        f"homelab_vpn_up {int(state is not None)}",
        "# TYPE homelab_vpn_troubles gauge",
        f"homelab_vpn_troubles {len(report.troubles)}",
        "# TYPE homelab_vpn_looked_seconds gauge",
        f"homelab_vpn_looked_seconds {time.time():.0f}",
        "# TYPE homelab_vpn_repairs_total counter",
        f"homelab_vpn_repairs_total {_number_of_lines(memory.repairs)}",
        "# TYPE homelab_vpn_handshake_seconds gauge",
    ]
    for peer in config.peers:
        seen = state.peers.get(peer.public_key) if state else None
        lines.append(f'homelab_vpn_handshake_seconds{{peer="{peer.name}"}} {seen.handshake if seen else 0}')
    return "\n".join(lines) + "\n"


def status(config: Config, memory: Memory) -> dict[str, Any]:
    """What a person wants to know first."""
    state = wireguard.read(config.interface)
    now = time.time()
    peers = {}
    for peer in config.peers:
        seen = state.peers.get(peer.public_key) if state else None
        peers[peer.name] = {
            "connected": bool(seen and now - seen.handshake < wireguard.SESSION),
            "seen_seconds_ago": int(now - seen.handshake) if seen and seen.handshake else None,
            "endpoint": seen.endpoint if seen else "",
            "valid": peer.valid_at(datetime.now(UTC)),
        }
    watched = memory.recall("watch")
    return {
        "interface": config.interface,
        "up": state is not None,
        "has_the_address": has(config.pair) if config.pair else None,
        "peers": peers,
        "troubles": watched.get("troubles", {}),
        "repairs": _last_repairs(memory),
    }


def _last_repairs(memory: Memory, number: int = 10) -> list[Any]:
    try:
        return [json.loads(line) for line in memory.repairs.read_text().splitlines()[-number:]]
    except (OSError, ValueError):
        return []


def _number_of_lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if os.path.exists(path) else 0  # noqa: PTH110
