"""One real question to a resolver, without a library for it: does it answer, and what?"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct
import time
from typing import NamedTuple

TYPES = {"A": 1, "NS": 2, "AAAA": 28}
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


class Reply(NamedTuple):
    """`addresses` are those of the answer itself, whatever aliases it came through."""

    code: str
    addresses: list[str]


def ask(name: str, kind: str = "A", server: str = "127.0.0.1", port: int = 53, timeout: float = 2.0) -> Reply | None:
    """What a resolver answers; nothing if it does not within that time."""
    number = secrets.randbelow(1 << 16)
    labels = [label.encode("ascii") for label in name.strip(".").split(".") if label]
    question = b"".join(bytes([len(label)]) + label for label in labels) + struct.pack("!BHH", 0, TYPES[kind], 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect((server, port))
            asked.send(struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + question)
            while (left := deadline - time.monotonic()) > 0:
                asked.settimeout(left)
                data = asked.recv(4096)
                if len(data) >= 12 and data[:2] == struct.pack("!H", number) and data[2] & 0x80:
                    return _read(data, 12 + len(question))
    except OSError:
        pass
    return None


def wait(name: str, deadline: float, server: str = "127.0.0.1", port: int = 53) -> bool:
    """Whether a resolver answers within so many seconds; a refusal is no answer."""
    end = time.monotonic() + deadline
    while True:
        reply = ask(name, server=server, port=port)
        if reply is not None and reply.code == "NOERROR":
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.5)


def _read(data: bytes, place: int) -> Reply:
    code = CODES.get(data[3] & 0x0F, str(data[3] & 0x0F))
    addresses = []
    for _ in range(struct.unpack_from("!H", data, 6)[0]):
        place = _after_name(data, place)
        kind, _, _, size = struct.unpack_from("!HHIH", data, place)
        place += 10
        if kind in (TYPES["A"], TYPES["AAAA"]):
            addresses.append(str(ipaddress.ip_address(data[place : place + size])))
        place += size
    return Reply(code, addresses)


def _after_name(data: bytes, place: int) -> int:
    while data[place]:
        if data[place] & 0xC0:
            return place + 2
        place += 1 + data[place]
    return place + 1
