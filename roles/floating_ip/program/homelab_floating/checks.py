"""Is it true? Each kind answers `None`, or why not in a few words."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from homelab_floating.settings import Check

TYPES = {"A": 1, "AAAA": 28}
# What the service may do for WireGuard, a program of somebody else's may not.
PLAIN = ("/usr/bin/setpriv", "--ambient-caps=-all", "--inh-caps=-all", "--no-new-privs")
UP = 1  # IFF_UP of linux/if.h


def objection(check: Check) -> str | None:
    """Why a host may not have the address, as far as this check goes. Takes little more than its `timeout`."""
    try:
        return KINDS[check.kind](check)
    except TimeoutError:
        return f"{_what(check)}: no answer within {check.timeout:g} s"
    except (OSError, ValueError, LookupError, struct.error) as error:
        return f"{_what(check)}: {getattr(error, 'strerror', None) or error}"


def _what(check: Check) -> str:
    match check.kind:
        case "dns":
            return f"dns {check.name} at {check.address}:{check.port or 53}"
        case "tcp":
            return f"tcp {check.address}:{check.port}"
        case "wireguard":
            return f"wireguard {check.interface}"
    return f"command {check.command[0]}"


# ---- dns (RFC 1035) ------------------------------------------------------------------------------------------


def dns(check: Check) -> str | None:
    family = socket.AF_INET6 if ":" in check.address else socket.AF_INET
    kind = TYPES[check.type]
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        # Connected, so that a closed port is heard of at once.
        asking.connect((check.address, check.port or 53))
        number = os.urandom(2)
        asking.send(question(number, check.name, kind))
        deadline = time.monotonic() + check.timeout
        while True:
            asking.settimeout(max(deadline - time.monotonic(), 0.001))
            message = asking.recv(4096)
            if message[:2] == number:  # else one that came too late for the check before
                break
    code, found = answers(message, kind)
    if code:
        return f"{_what(check)}: answered with code {code}"
    if not found:
        return f"{_what(check)}: has no {check.type}"
    if check.answer and str(ipaddress.ip_address(check.answer)) not in found:
        return f"{_what(check)}: is {', '.join(found)}, not {check.answer}"
    return None


def question(number: bytes, name: str, kind: int) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    packed = b"".join(bytes([len(label)]) + label for label in labels)
    return number + struct.pack("!5H", 0x0100, 1, 0, 0, 0) + packed + b"\0" + struct.pack("!2H", kind, 1)


def answers(message: bytes, kind: int) -> tuple[int, list[str]]:
    """The response code, and the addresses of one kind. Raises `ValueError`, `IndexError` or `struct.error`."""
    flags, asked, answered = struct.unpack("!3H", message[2:8])
    if not flags & 0x8000:
        raise ValueError("what came is no answer")
    at = 12
    for _ in range(asked):
        at = _behind_name(message, at) + 4
    found = []
    for _ in range(answered):
        at = _behind_name(message, at)
        found_kind, _, _, length = struct.unpack("!2HIH", message[at : at + 10])
        at += 10
        if found_kind == kind:
            found.append(str(ipaddress.ip_address(message[at : at + length])))
        at += length
    return flags & 0xF, found


def _behind_name(message: bytes, at: int) -> int:
    while length := message[at]:
        if length & 0xC0:  # the rest is elsewhere
            return at + 2
        at += 1 + length
    return at + 1


# ---- the others ----------------------------------------------------------------------------------------------


def tcp(check: Check) -> str | None:
    socket.create_connection((check.address, check.port), timeout=check.timeout).close()
    return None


def command(check: Check) -> str | None:
    done = _run([*PLAIN, *check.command], check)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return f"{_what(check)}: {words[-1][:200] if words else f'status {done.returncode}'}"
    return None


def wireguard(check: Check) -> str | None:
    flags = Path("/sys/class/net", check.interface, "flags")
    if not flags.exists():
        return f"{_what(check)}: there is no such interface"
    if not int(flags.read_text(), 16) & UP:
        return f"{_what(check)}: it is down"
    done = _run(["wg", "show", check.interface, "dump"], check)
    if done.returncode:
        return f"{_what(check)}: {done.stderr.strip()}"
    # The first field of the first line is the private key, the second of the others may be a shared one: left alone.
    own, *peers = [line.split("\t") for line in done.stdout.splitlines()]
    handshakes = {peer[0]: int(peer[4]) for peer in peers}
    return _what_is_wrong(check, own[1], own[2], handshakes)


def _what_is_wrong(check: Check, key: str, port: str, handshakes: dict[str, int]) -> str | None:
    """Of an interface with this public key and port, whose peers had their last handshakes then (0: never)."""
    at = _what(check)
    if key == "(none)":
        return f"{at}: it has no key"
    if check.public_key and key != check.public_key:
        return f"{at}: its key is {key}, not {check.public_key}"
    if port == "0" or (check.port and port != str(check.port)):
        return f"{at}: listens on port {port}, not {check.port or 'one'}"
    if not check.probe:
        return None
    if check.probe not in handshakes:
        return f"{at}: the peer that probes it is none of its peers"
    age = time.time() - handshakes[check.probe]
    if not handshakes[check.probe] or age > check.probe_age:
        last = f"{age:.0f} s ago" if handshakes[check.probe] else "never"
        return f"{at}: its last handshake with the peer that probes it was {last}"
    return None


def _run(words: list[str], check: Check) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=check.timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None


KINDS: dict[str, Callable[[Check], str | None]] = {
    "dns": dns,
    "tcp": tcp,
    "command": command,
    "wireguard": wireguard,
}
