"""Many questions at a steady pace, and how many of them nobody answered.

`python -m tests.dns_load ADDRESS NAME RATE SECONDS` prints a document of JSON.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass

from tests.dns_client import question

# A number has 16 bits: so many sockets have numbers for as long as an answer is waited for.
SOCKETS = 8
# Seconds after which an answer does not count, as a resolver's client would have asked again.
PATIENCE = 2.0


@dataclass
class Told:
    """Questions and answers, all together, and what was lost of each second's."""

    asked: int
    answered: int
    lost_of_each_second: list[int]

    @property
    def lost(self) -> int:
        return self.asked - self.answered


def load(address: str, name: str, rate: int, seconds: int) -> Told:
    """Ask `rate` times a second. An answer counts for the second of its question."""
    asked, answered = [0] * seconds, [0] * seconds
    waiting: list[dict[int, float]] = [{} for _ in range(SOCKETS)]
    words, family = question(name), socket.AF_INET6 if ":" in address else socket.AF_INET
    with selectors.DefaultSelector() as selector:
        sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
        for number, one in enumerate(sockets):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            one.setblocking(False)
            one.connect((address, 53))
            selector.register(one, selectors.EVENT_READ, number)
        begin = time.monotonic()
        done = 0
        while (now := time.monotonic() - begin) < seconds + PATIENCE:
            due = min(int(now * rate), rate * seconds)
            while done < due:
                at = done / rate
                number, which = (done // SOCKETS) & 0xFFFF, done % SOCKETS
                waiting[which][number] = at
                asked[int(at)] += 1
                done += 1
                try:
                    sockets[which].send(number.to_bytes(2, "big") + words)
                except OSError:
                    continue  # nobody has the address; or a buffer is full, which is a loss as well
            for key, _ in selector.select(0.001):
                _hear(sockets[key.data], waiting[key.data], answered, begin)
        for one in sockets:
            one.close()
    return Told(sum(asked), sum(answered), [a - b for a, b in zip(asked, answered, strict=True)])


def _hear(one: socket.socket, waiting: dict[int, float], answered: list[int], begin: float) -> None:
    while True:
        try:
            message = one.recv(512)
        except OSError:
            return
        at = waiting.pop(int.from_bytes(message[:2], "big"), None)
        if at is not None and message[3] & 0xF == 0 and time.monotonic() - begin - at < PATIENCE:
            answered[int(at)] += 1


if __name__ == "__main__":
    told = load(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps(asdict(told) | {"lost": told.lost}))
