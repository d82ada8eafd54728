"""A client that asks ten times a second, and how long it had no answer.

As a program, which needs nothing of the project: `dns_client.py ADDRESS NAME` asks until it is ended, and prints each
answer with its time; with `once` after it, it prints what the name has for an address there.
"""

from __future__ import annotations

import itertools
import socket
import struct
import sys
import threading
import time
from typing import Self

EVERY = 0.1


def question(name: str) -> bytes:
    """Without its number: which IPv4 address a name has."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!5H", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


class Client:
    """Asks one address who answers there, from its beginning to its end."""

    def __init__(self, address: str, name: str = "who.home.arpa") -> None:
        self._address, self._question = (address, 53), question(name)
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(EVERY)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._ask, self._hear)]
        # When which host answered, by the clock of this process.
        self.heard: list[tuple[float, str]] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for(lambda who: True)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _ask(self) -> None:
        for number in itertools.count(1):
            if self._ended.wait(EVERY):
                return
            try:
                self._socket.sendto(struct.pack("!H", number & 0xFFFF) + self._question, self._address)
            except OSError:  # nobody has the address, or what a closed port has said
                continue

    def _hear(self) -> None:
        while not self._ended.is_set():
            try:
                message = self._socket.recv(512)
            except OSError:
                continue
            if message[3] & 0xF == 0 and message[7]:
                self.heard.append((time.monotonic(), socket.inet_ntoa(message[-4:])))

    def wait_for(self, good: object, seconds: float = 30, after: float = 0) -> None:
        """Until an answer after that time comes from somebody `good`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if any(at > after and good(who) for at, who in self.heard[-20:]):  # type: ignore[operator]
                return
            time.sleep(0.02)
        raise AssertionError(f"no such answer within {seconds} s; the last ones: {self.heard[-3:]}")

    def longest_gap(self, since: float) -> float:
        """The longest time without an answer, from the last one before `since` to now, in seconds."""
        times = [at for at, _ in self.heard]
        kept = [at for at in times if at >= since]
        before = [at for at in times if at < since][-1:]
        return max(later - earlier for earlier, later in itertools.pairwise([*before, *kept, time.monotonic()]))

    def answered(self, since: float) -> set[str]:
        """Who has answered since then."""
        return {who for at, who in self.heard if at >= since}


if __name__ == "__main__":
    with Client(*sys.argv[1:3]) as client:
        printed = 0
        while not sys.argv[3:]:
            for at, who in client.heard[printed:]:
                print(f"[{at:.3f}] {who}", flush=True)
                printed += 1
            time.sleep(EVERY / 2)
        print(client.heard[0][1])
