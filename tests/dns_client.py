"""A client that asks ten times a second, and how long it had no answer."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from typing import Self

EVERY = 0.1
QUESTION = struct.pack("!5H", 0x0100, 1, 0, 0, 0) + b"\3who\4home\4arpa\0" + struct.pack("!2H", 1, 1)


class Client:
    """Asks one address who answers there, from its beginning to its end."""

    def __init__(self, address: str) -> None:
        self._address = (address, 53)
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
                self._socket.sendto(struct.pack("!H", number & 0xFFFF) + QUESTION, self._address)
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
